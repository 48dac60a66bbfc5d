# make run    environment on first use, then the main job on embedded data, then the leaderboard
# make test   environment on first use, then all tests
# make test-unit   those that take seconds: no torch, no processes, for the work in between
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
STAMP := $(VENV)/.longtail-suite
# test processes of each of two groups that run beside each other; those on SLURM and in a browser wait
# most of the time
JOBS ?= 2

.PHONY: env run test test-unit lint clean

env: $(STAMP)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here; give another one: make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]" --config-settings editable_mode=compat
	touch $(STAMP)

run: env
	$(BIN)/python -m suite run --task longtail-seg

# one line at the end says what came of all: see tests/together.py
test: env
	$(BIN)/python tests/together.py -n $(JOBS)

# files stay whole, since their tests share what takes long to make
test-unit: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -m 'not slow' -q -n auto --dist loadfile --no-loadscope-reorder

lint: env
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

clean:
	rm -rf $(VENV) build *.egg-info
