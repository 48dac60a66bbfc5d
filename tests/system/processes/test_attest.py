"""`attest`, in a throw-away checkout: a copy of the packages, with methods of the fake task among the baselines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FAKE, ROOT

METHOD = '''"""{title}."""

CARD = {{
    "title": "{title}",
    "tasks": {tasks},
    "names": {{"{name}": {{"summary": "adds up"}}}},
    "needs": {needs},
}}


def configure(cfg, facts, **given):
    # the first value
    first = {first}
    return {{"start": first, "sleep": {sleep}, "at": 0, "what": "none"}}
'''


EACH = """
import contextlib, io, json, sys
from suite import cli
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    answers.append((arguments, code, out.getvalue(), errors.getvalue()))
print(json.dumps(answers))
"""


class Project:
    """The checkout at `top`, and what a user types there."""

    def __init__(self, top: Path) -> None:
        self.top, self.work = top, top.parent / "work"
        self.work.mkdir()
        self.temporary = top.parent / "temporary"
        self.temporary.mkdir()

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.top), *who, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, needs: str = "{}", first: float = 1.0, sleep: float = 0.0) -> Path:
        path = self.top / f"baselines/shared/{name}.py"
        path.write_text(
            METHOD.format(
                title=name.title(),
                name=name,
                tasks='["fake"]',
                needs=needs,
                first=first,
                sleep=sleep,
            )
        )
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.top / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.top), str(FAKE)])
        return {**os.environ, "PYTHONPATH": path, "TMPDIR": str(self.temporary)}

    def suite(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "suite", *arguments]
        return subprocess.run(
            command,
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def each(self, *lines: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
        """Several commands of which none trains, in one process."""
        done = subprocess.run(
            [sys.executable, "-c", EACH, json.dumps(lines)],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
        )
        return [subprocess.CompletedProcess(*one) for one in json.loads(done.stdout)]

    def todo(self) -> dict[str, str]:
        """Method -> what a plan would do with its run."""
        done = self.suite("plan", "--task", "fake", *METHODS, "--format", "json")
        assert done.returncode == 0, done.stderr
        return {run["method"]: run["todo"] for run in json.loads(done.stdout)["rows"]}

    @property
    def attested(self) -> str:
        path = self.top / "results/attested.toml"
        return path.read_text() if path.exists() else ""

    def restore(self) -> None:
        self.git("checkout", "-q", "--", ".")
        self.git("clean", "-fdq")


METHODS = tuple(f"--method={name}" for name in ("adder", "doubler", "heir", "broken"))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """First commit without code; the second with it; in the third `adder` and `heir` are worded anew, and
    `doubler` and `broken` really changed."""
    made = Project(tmp_path_factory.mktemp("attest") / "checkout")
    made.top.mkdir()
    made.git("init", "-q", ".")
    (made.top / "README").write_text("a checkout\n")
    made.first = made.commit()
    skipped = shutil.ignore_patterns("__pycache__")
    for package in ("suite", "tasks", "baselines", "dashboard"):
        shutil.copytree(ROOT / package, made.top / package, ignore=skipped)
    (made.top / "results").mkdir()
    shutil.copy(ROOT / "results/digests-v1.toml", made.top / "results")
    (made.top / ".gitignore").write_text("__pycache__/\n")
    made.write("adder")
    made.write("doubler", first=2.0)
    made.write("heir", needs='{"inputs": {"parent": "adder"}}')
    made.write("broken")
    made.second = made.commit()
    done = made.suite("run", "--task", "fake", *METHODS)
    assert done.returncode == 0, done.stderr
    made.edit("baselines/shared/adder.py", "first", "begin")
    made.edit("baselines/shared/heir.py", "first", "begin")
    made.edit("baselines/shared/doubler.py", "2.0", "2.5")
    made.edit("baselines/shared/broken.py", "1.0", "1.0 / 0")
    made.edit("baselines/shared/focal.py", '"""Focal loss', '"""The focal loss')
    made.third = made.commit()
    return made


@pytest.fixture
def clean(project):
    """The same, as it was committed."""
    yield project
    project.restore()


def test_what_is_equal_is_attested_and_its_runs_count_again(clean):
    assert set(clean.todo().values()) == {"stale"}
    done = clean.suite("attest", "adder", "doubler,heir,broken", "--protocol", "quick")
    assert done.returncode == 1, done.stderr
    out = done.stdout.splitlines()
    under = f"(at {clean.second[:12]})"
    assert out[0].startswith("adder: attested: ") and under in out[0]
    assert "equal under fake/quick (1 arrays, 1 tensors, 2 scores)" in out[0]
    assert out[1].startswith("doubler: not attested: ") and under in out[1]
    # the array, the weights and the scores
    assert "fake/quick: run " in out[2] and "test/score: 1 of 1 differ, the first at [0]" in out[2]
    assert "then" in out[2] and "today" in out[2]
    assert "weights: " in out[3] and "fake score: 0." in out[4] and "1 more" in out[5]
    # with its input run
    assert out[6].startswith("heir: attested: ") and "2 arrays, 2 tensors, 4 scores" in out[6]
    assert out[7].startswith("broken: not attested: ")
    assert "with the code of today: failed(code): ZeroDivisionError" in out[8]
    assert len(out) == 9
    assert done.stderr.count("training under fake/quick with the code of") == 2
    assert clean.attested.count("[[attested]]") == 2 and "doubler" not in clean.attested
    assert f'commit = "{clean.second}"' in clean.attested
    assert clean.todo() == {
        "adder": "done",
        "doubler": "stale",
        "heir": "done",
        "broken": "stale",
    }
    assert list(clean.temporary.iterdir()) == []

    before = clean.attested
    (again,) = clean.each(("attest", "adder", "--protocol", "quick"))
    assert again.returncode == 0 and "attested already" in again.stdout and not again.stderr
    assert clean.attested == before


def test_words_alone_are_nothing_to_attest(clean):
    done, since = clean.each(("attest", "focal", "ce"), ("attest", "focal", "--since", "HEAD~1"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("nothing to do: its code is the same in all of the history") == 2
    assert since.returncode == 0 and f"is at {clean.second[:12]} the same" in since.stdout
    assert not clean.attested


BAD = {
    ("focl",): "unknown method 'focl'; did you mean focal",
    ("focal", "steady"): "'steady' is not of this project but of",
    ("focal", "--since", "nowhere"): "--since nowhere: no such commit in",
    ("focal", "--since", "-n"): "--since -n: no such commit in",
    ("focal", "--since", "HEAD~2"): "has no folder baselines/, so no method 'focal'",
    ("adder",): "task fake has no protocol 'smoke'; name one with --protocol",
    ("adder", "--protocol", "ade20k"): "is of task 'longtail-seg'; 'adder' is for fake",
    ("adder", "--protocol", "other,quik"): "task fake has no such protocol; did you mean quick",
    ("cdt", "--protocol", "cpu-cifar"): "needs a data root: give --data-root DIR",
    ("cdt", "--protocol", "cpu-cifar", "--data-root", "none"): "none: no such folder",
}


def test_bad_input_is_one_line_and_nothing_is_trained(clean):
    answers = clean.each(*(("attest", *arguments) for arguments in BAD))
    for done, says in zip(answers, BAD.values(), strict=True):
        assert done.returncode == 2 and not done.stdout, done
        assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done
        assert says in done.stderr
    assert not clean.attested


def test_a_method_that_was_not_there_is_named(clean):
    clean.write("late")
    clean.commit()
    since, done = clean.each(
        ("attest", "late", "--protocol", "quick", "--since", clean.second),
        ("attest", "late", "--protocol", "quick"),
    )
    assert since.returncode == 2
    assert f"--since {clean.second[:12]}: has no method 'late'" in since.stderr
    assert done.returncode == 0 and "nothing to do" in done.stdout
    clean.git("reset", "-q", "--hard", clean.third)


@pytest.mark.parametrize("name", ["baselines/shared/focal.py", "suite/new.py"])
def test_a_dirty_checkout_is_refused(clean, name):
    with open(clean.top / name, "a") as file:
        file.write("# more\n")
    # what is no code may lie there
    (clean.top / "notes.py").write_text("")
    done = clean.suite("attest", "focal")
    assert done.returncode == 2
    assert f"{name} is not as it was committed: `git commit` first" in done.stderr


def test_code_that_git_has_not_is_refused(clean):
    clean.git("update-index", "--assume-unchanged", "baselines/shared/adder.py")
    clean.edit("baselines/shared/adder.py", "1.0", "9.0")
    done = clean.suite("attest", "adder", "--protocol", "quick")
    clean.git("update-index", "--no-assume-unchanged", "baselines/shared/adder.py")
    assert done.returncode == 2 and "is not what git has of it" in done.stderr


def test_what_is_no_checkout_has_no_earlier_code(clean):
    (clean.top / ".git").rename(clean.top / "git")
    try:
        done = clean.suite("attest", "focal")
    finally:
        (clean.top / "git").rename(clean.top / ".git")
    assert done.returncode == 2 and "not a git checkout of the project" in done.stderr


def test_other_parameters_cannot_be_compared(clean):
    clean.edit(
        "baselines/shared/adder.py", '"needs":', '"params": {"more": {"default": 1}}, "needs":'
    )
    clean.commit()
    done = clean.suite("attest", "adder", "--protocol", "quick", "--since", clean.second)
    clean.git("reset", "-q", "--hard", clean.third)
    assert done.returncode == 1
    assert "cannot be compared: other parameters or input runs" in done.stdout
    assert not done.stderr and not clean.attested


def test_today_is_trained_with_the_defaults_of_then(clean):
    """A default that has changed, and a parameter that has come since at its neutral value."""
    file, more = "baselines/shared/adder.py", '"params": {"more": {"default": 1.5}}, "needs":'
    clean.edit(file, '"needs":', more)
    clean.edit(file, "begin = 1.0", 'begin = given["more"]')
    then = clean.commit()
    less = '2.5}, "less": {"default": 0.5, "neutral": 0.0}'
    clean.edit(file, "1.5}", less)
    clean.edit(file, 'given["more"]', 'given["more"] - given["less"]')
    clean.commit()
    done = clean.suite("attest", "adder", "--protocol", "quick")
    # a changed result is seen all the same
    clean.edit(file, 'given["less"]', 'given["less"] + 0.25')
    clean.commit()
    other = clean.suite("attest", "adder", "--protocol", "quick", "--since", then)
    clean.git("reset", "-q", "--hard", clean.third)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "adder: attested: " in done.stdout and f"(at {then[:12]})" in done.stdout
    assert other.returncode == 1 and "test/score: 1 of 1 differ" in other.stdout


def test_ctrl_c_leaves_no_folder_and_no_process(clean):
    clean.write("adder", first=1.5, sleep=0.5)
    clean.commit()
    # slow with both codes
    slow = clean.git("rev-parse", "HEAD")
    clean.edit("baselines/shared/adder.py", "first", "begin")
    clean.commit()
    command = ["attest", "adder", "--protocol", "quick", "--since", slow]
    process = subprocess.Popen(
        [sys.executable, "-m", "suite", *command],
        cwd=clean.work,
        env=clean.environment,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: any(clean.temporary.glob("*/results/*/*/runs/*/1/status.json")))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert list(clean.temporary.iterdir()) == []
        assert not [line for line in running() if str(clean.temporary) in line]
    finally:
        process.kill()
        process.communicate()
        clean.git("reset", "-q", "--hard", clean.third)
    assert not clean.attested


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def running() -> list[str]:
    """Environments of this user's processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found.append(path.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def test_a_method_that_adapts_scores_is_held_to_them(clean):
    """Its predictions and weights are those of before; only the scores show the change. Trained for real."""
    clean.edit("baselines/classification/la_posthoc.py", "- tau *", "- 2 * tau *")
    clean.commit()
    done = clean.suite("attest", "la-posthoc")
    clean.git("reset", "-q", "--hard", clean.third)
    assert done.returncode == 1, done.stderr
    out = done.stdout.splitlines()
    assert out[0].startswith("la-posthoc: not attested: ")
    assert all("longtail-cls" in line or "test-agnostic" in line for line in out[1:4])
    assert "weight " not in done.stdout and "test/" not in done.stdout
