"""The command line as a user meets it, wrong input included."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.usefixtures("fake")

RUN = ("run", "--task", "fake")


def refused(result, *parts):
    """Exit code 2 and one line on stderr that holds the parts."""
    assert result.returncode == 2, result.stderr
    for part in parts:
        assert part in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_run_trains_all_and_prints_the_board(suite, tmp_path):
    done = suite(*RUN, "--workers", "2")
    assert done.returncode == 0, done.stderr
    for method in ("steady", "brisk", "calm"):
        assert re.search(rf"{method} seed 0 +done in", done.stderr)
        assert method in done.stdout
    assert "unranked (n=1)" in done.stdout
    assert "\x1b[" not in done.stdout + done.stderr  # plain without a terminal
    again = suite(*RUN)
    assert "nothing to do" in again.stderr
    assert again.stdout == done.stdout


def test_three_seeds_are_ranked(suite):
    assert suite(*RUN, "--seeds", "0-2").returncode == 0
    printed = suite("leaderboard", "--task", "fake", "--format", "json")
    rows = {row["method"]: row for row in json.loads(printed.stdout)["rows"]}
    assert [rows[m]["rank"] for m in ("brisk", "steady", "calm")] == [1, 2, 3]
    for row in rows.values():
        cell = row["metrics"]["score"]
        assert row["n"] == 3
        assert cell["low"] < cell["mean"] < cell["high"]


def test_exports(suite, inside):
    assert suite(*RUN, "--method", "calm").returncode == 0
    for format in ("csv", "markdown", "latex"):
        printed = inside("leaderboard", "--task", "fake", "--format", format)
        assert printed.returncode == 0
        assert "calm" in printed.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("run", "--task", "fak"), ["unknown task 'fak'; did you mean fake?"]),
        ((*RUN, "--method", "steddy"), ["unknown method 'steddy'; did you mean steady?"]),
        ((*RUN, "--method", "calm,steddy"), ["unknown method 'steddy'; did you mean steady?"]),
        ((*RUN, "--method", "calm,"), ["'calm,': a name is missing"]),
        ((*RUN, "--protocol", "quik"), ["no protocol 'quik'; did you mean quick?"]),
        ((*RUN, "--set", "steady.strat=1"), ["unknown parameter 'strat'; did you mean start"]),
        ((*RUN, "--set", "steady.sleep=fast"), ["is not of type float"]),
        ((*RUN, "--seeds", "a"), ["--seeds 'a'"]),
        ((*RUN, "--workers", "0"), ["--workers 0"]),
        ((*RUN, "--device", "gpu"), ["--device 'gpu'"]),
        ((*RUN, "--plugin", "none.py"), ["none.py: no such file"]),
        ((*RUN, "--time-limit", "0"), ["--time-limit 0"]),
        ((*RUN, "--on", "slrum"), ["--on 'slrum': use local or slurm"]),
        ((*RUN, "--partition", "gpu"), ["--partition is for a cluster job; add --on slurm"]),
        ((*RUN, "--pack", "4"), ["--pack is for a cluster job; add --on slurm"]),
        ((*RUN, "--wait"), ["--wait is for cluster jobs; add --on slurm"]),
        ((*RUN, "--on", "slurm", "--device", "cuda"), ["a job takes --gpus-per-node"]),
        ((*RUN, "--on", "slurm", "--site", "lab"), ["--site lab: no such site", "sites.toml"]),
        ((*RUN, "--on", "slurm", "--time", "soon"), ["--on slurm: time 'soon'"]),
        ((*RUN, "--on", "slurm", "--workers", "0"), ["--workers 0"]),
        (("status", "--state", "runing"), ["--state 'runing'", "did you mean running"]),
        (("status", "--task", "fak"), ["unknown task 'fak'"]),
        (("status", "--seeds", "7"), ["give --task too"]),
        (("status", "--method", "steddy"), ["did you mean steady"]),
        ((*RUN, "--gpus-per-node", "0"), ["--gpus-per-node is for a cluster job"]),
        (("retry", "--workers", "0"), ["--workers 0"]),
        (("cancel",), ["cancel what?"]),
        (("cancel", "abc"), ["no run 'abc' here"]),
        (("logs", "abc"), ["no run 'abc' here"]),
        (("retry", "--kind", "omm"), ["--kind 'omm'", "did you mean oom"]),
        (("leaderboard", "--task", "fake", "--by", "scroe"), ["scroe", "score"]),
        (("leaderboard", "--task", "fake", "--format", "word"), ["--format 'word'"]),
        (("show", "abc"), ["no run 'abc'"]),
        (("baselines", "steddy"), ["did you mean steady"]),
        (("data", "check", "camvit"), ["unknown data set 'camvit'; did you mean camvid"]),
        (
            ("run", "--task", "longtail-seg", "--protocol", "camvid"),
            ["needs a data root", "--data-root DIR", "trainannot/"],
        ),
    ],
)
def test_wrong_input_is_one_clear_line(inside, tmp_path, arguments, parts):
    (tmp_path / "results").mkdir()
    refused(inside(*arguments), *parts)


def test_nothing_else_is_on_stderr_of_a_process_of_its_own(suite):
    refused(suite(*RUN, "--method", "steddy"), "unknown method 'steddy'; did you mean steady?")
    refused(suite("run", "--task", "longtail-seg", "--protocol", "camvid"), "needs a data root")


def test_a_wrong_option_says_so(inside):
    result = inside(*RUN, "--methods", "steady")
    assert result.returncode == 2
    assert "--methods" in result.stderr


def test_a_results_root_that_is_a_file(inside, tmp_path):
    (tmp_path / "file").write_text("")
    refused(inside(*RUN, "--root", "file"), "is a file, not a folder")


def test_an_unknown_key_in_the_config_file(suite, tmp_path, monkeypatch):
    folder = tmp_path / "config/longtail-suite"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('data_rot = "/data"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    refused(suite(*RUN), "unknown key 'data_rot'; did you mean data_root")


PLUGIN = """
CARD = {
    "title": "Mine",
    "tasks": ["fake"],
    "names": {"NAME": {"summary": "mine"}},
    "params": {"start": {"default": 9.0}},
}


def configure(cfg, facts, start):
    return {"start": start, "sleep": 0.0, "at": 0, "what": "none"}
"""


def test_plugin_is_ranked_and_goes_stale_when_edited(suite, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.replace("NAME", "mine"))
    run = (*RUN, "--method", "mine", "--plugin", "mine.py")
    assert suite(*run).returncode == 0
    path.write_text(path.read_text() + "\nedited = True\n")
    edited = suite(*run)
    assert edited.returncode == 0
    assert "1 run(s) are stale" in edited.stderr
    again = suite(*run, "--stale")
    assert "mine seed 0 done" in again.stderr
    printed = suite("leaderboard", "--task", "fake", "--format", "json", "--plugin", "mine.py")
    states = [row["state"] for row in json.loads(printed.stdout)["rows"] if row["method"] == "mine"]
    assert sorted(states) == ["done", "stale"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (PLUGIN.replace("NAME", "steady"), ["the name 'steady' is taken by"]),
        ("import nothing_of_the_kind\n" + PLUGIN.replace("NAME", "mine"), ["raises on import"]),
        ("x = 1\n", ["has no CARD"]),
        (
            PLUGIN.replace("NAME", "mine").replace("configure", "conf"),
            ["has no function configure"],
        ),
        (PLUGIN.replace("NAME", "My Method"), ["method name 'My Method'"]),
        (PLUGIN.replace('"title"', '"tilte"'), ["mine.py:2: CARD is not a valid literal card"]),
        (PLUGIN.replace("9.0", "open('x')"), ["CARD is not a valid literal card"]),
    ],
)
def test_bad_plugins(inside, tmp_path, content, parts):
    (tmp_path / "mine.py").write_text(content)
    refused(inside(*RUN, "--plugin", "mine.py"), *parts)


def test_several_methods_in_one_word(inside):
    asked = ("--method", "calm,steady", "--method", "calm", "--format", "json")
    planned = json.loads(inside("plan", *RUN[1:], *asked).stdout)
    assert [run["method"] for run in planned["rows"]] == ["calm", "steady"]


def test_plan_starts_and_writes_nothing(suite, inside, tmp_path):
    planned = suite("plan", "--task", "fake", "--seeds", "0,1", "--format", "json")
    plan = json.loads(planned.stdout)
    assert plan["counts"] == {"new": 6}
    assert plan["estimated_seconds"] == pytest.approx(6 / plan["workers"])
    assert not (tmp_path / "results").exists()
    shown = inside("plan", "--task", "longtail-seg", "--protocol", "camvid:half")
    assert shown.returncode == 0
    assert "data: " in shown.stdout  # missing data is reported, not an error


def test_failed_run_gives_exit_code_one_and_is_left_alone(suite):
    bad = ("--set", "calm.what=code", "--set", "calm.at=3")
    first = suite(*RUN, *bad)
    assert first.returncode == 1
    assert "failed(code)" in first.stderr
    assert "log.txt" in first.stderr
    again = suite(*RUN, *bad)
    assert again.returncode == 1
    assert "nothing to do" in again.stderr
    assert re.search(r"python -m suite retry [0-9a-f]{8}\n", again.stderr)


@pytest.mark.fault
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(suite, tmp_path):
    slow = [f"--set={m}.sleep=0.1" for m in ("steady", "calm", "brisk")]
    command = [sys.executable, "-m", "suite", *RUN, *slow, "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("results/runs/*/*/status.json"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped: 0 of 3 done" in errors
    assert "python -m suite run --task fake" in errors
    states = [
        json.loads(p.read_bytes())["state"] for p in tmp_path.glob("results/runs/*/*/status.json")
    ]
    assert states == ["stopped", "stopped"]
    done = suite(*RUN, *slow)
    assert done.returncode == 0
    statuses = [json.loads(p.read_bytes()) for p in tmp_path.glob("results/runs/*/*/status.json")]
    assert sorted(s["restarts"] for s in statuses) == [0, 1, 1]


@pytest.mark.fault
def test_parent_killed_workers_stop_by_themselves(suite, tmp_path):
    command = [
        sys.executable,
        "-m",
        "suite",
        *RUN,
        "--set",
        "steady.sleep=0.1",
        "--method",
        "steady",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (found := list(tmp_path.glob("results/runs/*/*/status.json"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    worker = json.loads(found[0].read_bytes())["pid"]
    process.kill()
    process.wait()
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the worker outlived its parent")
    assert json.loads(found[0].read_bytes())["state"] == "stopped"


@pytest.mark.fault
def test_two_commands_on_one_root(suite, tmp_path):
    slow = [f"--set={m}.sleep=0.03" for m in ("steady", "calm", "brisk")]
    command = [sys.executable, "-m", "suite", *RUN, *slow, "--workers", "1"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    boards = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert boards[0] == boards[1]
    assert len(list(tmp_path.glob("results/runs/*/*/record.json"))) == 3


def test_ingest_rebuild_gives_the_same_board(suite, inside, tmp_path):
    assert suite(*RUN).returncode == 0
    before = suite("leaderboard", "--task", "fake", "--format", "json").stdout
    assert suite("ingest", "--rebuild").returncode == 0
    assert inside("leaderboard", "--task", "fake", "--format", "json").stdout == before
    for file in (tmp_path / "results").glob("store*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert inside("leaderboard", "--task", "fake", "--format", "json").stdout == before


@pytest.mark.parametrize("verb", ["run", "plan", "leaderboard", "show", "tasks", "baselines"])
def test_help_has_examples(inside, verb):
    printed = inside(verb, "--help").stdout
    assert "Examples" in printed
    assert f"python -m suite {verb}" in printed


@pytest.mark.parametrize("arguments", [("--help",), ("plan", "--task", "longtail-seg"), ("tasks",)])
def test_reading_verbs_import_neither_torch_nor_scipy(tmp_path, arguments):
    code = (
        f"import sys; sys.argv = ['suite', *{arguments!r}]\nfrom suite.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "bad = [m for m in ('torch', 'scipy', 'mmengine', 'pandas') if m in sys.modules]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_after_a_failure_it_says_how_to_try_again(suite):
    broken = ("--set", "calm.what=code", "--set", "calm.at=3", "--root", "elsewhere")
    failed = suite(*RUN, *broken)
    assert failed.returncode == 1
    command = re.search(r"python -m suite (retry [0-9a-f]{8} --root elsewhere)\n", failed.stderr)
    again = suite(*command[1].split())
    assert again.returncode == 1
    assert "calm seed 0 failed(code)" in again.stderr
    assert "brisk" not in again.stderr  # what is finished is left alone


def test_the_command_to_go_on_leaves_out_fresh(monkeypatch):
    from suite.cli.progress import _own_command

    monkeypatch.setattr(sys, "argv", ["suite", "run", "--task", "fake", "--fresh"])
    assert _own_command(without="--fresh") == "python -m suite run --task fake"
    assert _own_command() == "python -m suite run --task fake --fresh"


def test_status_cancel_retry_and_logs_of_runs_here(suite, inside, tmp_path):
    assert "no runs yet" in inside("status").stdout
    planned = json.loads(inside("status", "--task", "fake", "--format", "json").stdout)
    assert [run["state"] for run in planned["rows"]] == ["planned"] * 3
    slow = ("--set", "steady.sleep=0.4", "--workers", "3")
    broken = ("--set", "calm.what=oom", "--set", "calm.at=2")
    command = [sys.executable, "-m", "suite", *RUN, *slow, *broken]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def states():
        found = json.loads(inside("status", "--format", "json").stdout)["rows"]
        return {run["method"]: run for run in found}

    def state(method):
        # a run that nobody has begun is in no listing
        return states().get(method, {}).get("state")

    deadline = time.monotonic() + 60
    while not (steady := states().get("steady", {})).get("step"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # at once: it does not run for ever
    shown = inside("status").stdout
    assert "1 run(s) cancelled" in suite("cancel", steady["run"][:6]).stdout
    assert steady["total"] == 60
    assert re.search(rf"{steady['run']} +steady +0 +\d+ of 60", shown)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (state("calm"), state("brisk")) == ("failed", "done")
    assert "(1 oom)" in suite("status").stdout
    assert "1 run(s) were cancelled or stopped meanwhile" in errors
    assert states()["steady"]["state"] == "cancelled"
    assert "out of memory" in suite("logs", states()["calm"]["run"]).stdout
    assert "nothing to try again" in inside("retry", "--kind", "nan").stdout
    assert "calm" in inside("retry", "--dry-run").stdout
    again = suite("retry", steady["run"])
    assert again.returncode == 0
    assert states()["steady"]["state"] == "done"


def test_cancel_all_reaches_runs_that_wait_behind_others_here(suite, tmp_path):
    slow = [word for m in ("steady", "calm", "brisk") for word in ("--set", f"{m}.sleep=0.1")]
    command = [sys.executable, "-m", "suite", *RUN, *slow, "--workers", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("results/runs/*/1/status.json")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "1 run(s) cancelled" in suite("cancel", "--task", "fake").stdout
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "3 run(s) were cancelled or stopped meanwhile" in errors
    assert suite(*RUN, *slow, "--workers", "3").returncode == 0  # a later command goes on


def test_sites_are_listed(suite, inside, tmp_path, monkeypatch):
    assert "no sites yet" in inside("sites").stdout
    path = tmp_path / "mine.toml"
    path.write_text('[lab]\npartition = "gpu"\n')
    monkeypatch.setenv("LONGTAIL_SITES", str(path))
    assert "partition=gpu" in suite("sites").stdout
    printed = suite("run", "--task", "fake", "--on", "slurm", "--site", "lab", "--dry-run")
    assert printed.returncode == 0, printed.stderr
    assert "#SBATCH --partition=gpu" in printed.stdout
    assert not (tmp_path / "results").exists()
    path.write_text('[lab]\npartion = "gpu"\n')
    refused(inside("sites"), "mine.toml: [lab]: unknown key 'partion'; did you mean partition")


def test_without_slurm_it_says_how_to_run_here(suite, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    refused(suite(*RUN, "--on", "slurm"), "no SLURM on this machine", "--on local")
    assert not (tmp_path / "results").exists()
