# make run    environment on first use, then the main job on embedded data, then the leaderboard
# make test   environment on first use, then all tests
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
STAMP := $(VENV)/.longtail-suite
# two more than two cores: both files of tests on SLURM wait most of the time
JOBS ?= 4

.PHONY: env run test lint clean

env: $(STAMP)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here; give another one: make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]" --config-settings editable_mode=compat
	touch $(STAMP)

run: env
	$(BIN)/python -m suite run --task longtail-seg

# each test process and what it starts uses one thread: more threads than cores slow each other; files
# stay whole, since their tests share a cluster, or a suite that takes half a minute
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15

lint: env
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

clean:
	rm -rf $(VENV) build *.egg-info
