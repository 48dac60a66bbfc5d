"""What the doctor asks other processes."""

import json
import os
import time

from fake_commands import commands
from findings import (
    _fresh_config,  # noqa: F401
    one,
    place,  # noqa: F401
    states,
)
from records import Records

from suite.upkeep.doctor import cluster, environment, finding


def test_imports_are_tried_out_in_another_process(place, tmp_path, monkeypatch):
    (tmp_path / "good.py").write_text("__version__ = '1.2'")
    (tmp_path / "broken.py").write_text(
        "print('noise')\nraise ImportError('libfoo.so\\nnot found')"
    )
    (tmp_path / "torch.py").write_text(
        "__version__ = '9'\ndef get_num_threads(): return 512\n"
        "class version: cuda = '12.1'\nclass cuda:\n is_available = staticmethod(lambda: False)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    commands(tmp_path / "bin", monkeypatch, **{"nvidia-smi": "echo GPU 0: some"})
    monkeypatch.setattr(environment, "IMPORTED", ("good", "broken", "torch"))
    found = list(environment.check_imports(place))
    broken = one(found, "problem")
    assert broken.text == "import broken: ImportError: libfoo.so not found"
    assert broken.todo == 'python -c "import broken"'
    assert found[1].text == "good 1.2, torch 9"
    threads, gpu = found[2:]
    assert threads.state == "warning" and threads.todo.startswith("export OMP_NUM_THREADS=")
    assert gpu.state == "warning" and "1 GPU(s) by nvidia-smi, none for torch" in gpu.text
    # no GPU is no fault
    commands(tmp_path / "none", monkeypatch)
    assert list(environment.check_imports(place))[-1].state == "ok"


def test_an_import_that_crashes_or_hangs_is_a_problem(place, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(environment, "IMPORTED", ("crash",))
    (tmp_path / "crash.py").write_text("import os; os.abort()")
    assert "killed by signal 6" in one(environment.check_imports(place), "problem").text
    (tmp_path / "crash.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(finding, "CHECK_SECONDS", 1.3)
    assert "has not answered" in one(environment.check_imports(place), "problem").text


# -- cluster
SINFO = "echo 'gpu|up|3|1-00:00:00'; echo 'cpu|up|9|infinite'"


def test_slurm_is_asked_and_sites_are_held_against_it(place, tmp_path, monkeypatch):
    sites = tmp_path / "sites.toml"
    monkeypatch.setenv("LONGTAIL_SITES", str(sites))
    commands(tmp_path / "bin", monkeypatch, sbatch="", squeue="", sinfo=SINFO, sacct="exit 1")
    found = list(cluster.check_slurm(place)) if sites.write_text("") == 0 else []
    assert "gpu (up, 3 node(s), 1-00:00:00)" in found[0].text
    assert states(found) == [("slurm", "ok"), ("slurm", "warning")] and "sacct" not in found[0].text
    sites.write_text('[lab]\npartition = "gpu,gone"\n[own]\npartition = "cpu"')
    _, partition, accounts = cluster.check_slurm(place)
    assert partition.text == "[lab] names partition gone, which is not there"
    assert "no accounts" in accounts.text
    assert "lab, own" in one(cluster.check_sites(place), "ok").text
    sites.write_text('[lab]\npartitoin = "gpu"')
    assert "did you mean partition" in one(cluster.check_sites(place), "problem").text


def test_a_cluster_that_does_not_answer_is_bounded(place, tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "COMMAND_SECONDS", 0.3)
    commands(tmp_path / "bin", monkeypatch, sbatch="", squeue="", sinfo="exec /bin/sleep 30")
    start = time.monotonic()
    found = one(cluster.check_slurm(place), "warning")
    assert time.monotonic() - start < 5
    assert "sinfo has not answered for 0.3 s" in found.text
    # for someone who uses the cluster it is more than that
    (tmp_path / "jobs").mkdir()
    assert [f.state for f in cluster.check_slurm(place)] == ["problem"]


# -- the verb
def test_the_verb_prints_lines_or_json_and_its_exit_code_is_the_verdict(
    suite, inside, fake, tmp_path
):
    root = tmp_path / "res [red]ults"
    Records(root).run("ce", mIoU=0.5)
    done = suite("doctor", env={**os.environ, "LONGTAIL_ROOT": str(root)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning store" in done.stdout and "-> python -m suite ingest\n" in done.stdout
    assert f"{root} (from $LONGTAIL_ROOT)" in done.stdout
    (root / "store.duckdb").write_bytes(b"junk")
    done = suite("doctor", "--format", "json", "--root", str(root))
    assert done.returncode == 1
    found = json.loads(done.stdout)["rows"]
    assert {tuple(entry) for entry in found} == {("check", "state", "text", "todo")}
    (store,) = (entry for entry in found if entry["check"] == "store")
    assert store["state"] == "problem" and "ingest --rebuild --root" in store["todo"]
    assert inside("doctor", "--format", "csv").returncode == 2
