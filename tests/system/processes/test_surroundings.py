"""What a command finds where it is typed: files of the user's own, streams, file systems, an installation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("fake")

HERE = Path(__file__).parents[3]

PLUGIN = """
CARD = {{
    "title": "Mine",
    "tasks": ["fake"],
    "names": {{"{name}": {{"summary": "mine"}}}},
}}
{top}


def configure(cfg, facts):
    {body}
    return {{"start": 0.0, "sleep": 0.0, "at": 0, "what": "none"}}
"""


def plugin(folder, name, body="pass", top=""):
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.format(name=name, body=body, top=top))
    return path.name


def test_files_of_the_working_folder_stand_in_for_nothing(suite, tmp_path):
    """Neither in the command, typed with `python -m` or as a console script, nor in its workers."""
    for package in ("tasks", "dashboard", "baselines", "fake_methods", "msgspec"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("TASKS = ['mine']\n1 / 0\n")
    (tmp_path / "statistics.py").write_text("1 / 0\n")
    # what lies beside a plug-in, and has no other's name, is found
    (tmp_path / "beside.py").write_text("")
    near = plugin(tmp_path, "near", top="import beside")
    asked = ("run", "--task", "fake", "--plugin", near, "--root", "r", "--method")
    done = suite(*asked, "near")
    assert done.returncode == 0, done.stderr
    (tmp_path / "suite.py").write_text("1 / 0\n")
    script = [sys.executable, "-P", "-m", "suite", "run", "--task", "fake", "--root", "r"]
    # an empty part would be the working folder, whose suite.py Python itself would then take
    parts = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(HERE)]
    path = os.pathsep.join(filter(None, parts))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [*script, "--method", "steady", "--set", "steady.sleep=0.0"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_nobody_answers_nobody_listens_and_no_letter_is_lost_to_a_run(suite, tmp_path):
    plugins = [
        plugin(tmp_path, "debugged", "breakpoint()"),
        plugin(tmp_path, "traced", "import pdb; pdb.set_trace()"),
        plugin(tmp_path, "login", "input('password: ')"),
        plugin(tmp_path, "letters", "print('45 ± 1 ≥ 44')", "print('loading kernels ...')"),
    ]
    asked = [word for path in plugins for word in ("--plugin", path)]
    asked += ["--task", "fake", "--root", "r", "--method", "debugged,traced,login,letters"]
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = suite("run", *asked, "--workers", "1", env=latin, encoding="latin-1")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    for method, says in {
        "debugged": "debugged.py:11: nobody can answer in a run",
        "traced": "nobody can answer in a run",
        "login": "nobody can answer in a run",
    }.items():
        assert any(
            line.startswith(f"failed(code) {method} ") and says in line
            for line in done.stderr.splitlines()
        ), done.stderr
    # the board, in an encoding that lacks some of its letters
    assert "letters" in done.stdout and "loading kernels" not in done.stdout
    (log,) = [p for p in tmp_path.glob("r/runs/*/1/log.txt") if "≥" in p.read_text("utf-8")]
    assert "45 ± 1 ≥ 44" in log.read_text("utf-8")

    planned = suite("plan", *asked, "--format", "json")
    assert json.loads(planned.stdout)
    assert "loading kernels" in planned.stderr

    # who reads has had enough: the exit code says what came of the runs all the same
    for command, code in (
        (["run", *asked], 1),
        (["leaderboard", "--task", "fake", "--root", "r"], 0),
    ):
        reading, writing = os.pipe()
        os.close(reading)
        words = [sys.executable, "-m", "suite", *command]
        gone = subprocess.run(
            words, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True
        )
        os.close(writing)
        assert gone.returncode == code, gone.stderr
        assert "Broken" not in gone.stderr and "Traceback" not in gone.stderr

    closed = 'exec "$@" <&- >&- 2>&-'
    words = [sys.executable, "-m", "suite", "leaderboard", "--task", "fake", "--root", "r"]
    assert subprocess.run(["sh", "-c", closed, "sh", *words], cwd=tmp_path).returncode == 0


NO_LOCKS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int without(int fd) {
  char name[64], path[4096]; const char *under = getenv("UNDER");
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(name, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  if (strncmp(path, under, strlen(under))) return 0;
  errno = atoi(getenv("ERRNO"));
  return 1;
}
static int call(int fd, int what, void *more) {
  int lock = what == F_SETLK || what == F_SETLKW || what == F_GETLK || what == F_OFD_SETLK || what == F_OFD_SETLKW;
  return lock && without(fd) ? -1 : syscall(SYS_fcntl, fd, what, more);
}
int flock(int fd, int how) { return without(fd) ? -1 : syscall(SYS_flock, fd, how); }
int fcntl(int fd, int what, ...) {
  va_list a; va_start(a, what); void *more = va_arg(a, void *); va_end(a); return call(fd, what, more);
}
int fcntl64(int fd, int what, ...) {
  va_list a; va_start(a, what); void *more = va_arg(a, void *); va_end(a); return call(fd, what, more);
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_a_root_without_locks_trains_and_has_a_board(suite, tmp_path):
    (tmp_path / "locks.c").write_text(NO_LOCKS)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", "locks.so", "locks.c"], cwd=tmp_path, check=True
    )
    environment = {
        **os.environ,
        "LD_PRELOAD": str(tmp_path / "locks.so"),
        "UNDER": str(tmp_path / "what?"),
        "ERRNO": "38",
    }
    asked = ("--task", "fake", "--root", "what?")
    method = ("--method", "steady", "--set", "steady.sleep=0.0")
    done = suite("run", *asked, *method, env=environment)
    assert done.returncode == 0, done.stderr
    for number in ("22", "37", "95"):
        shown = suite(
            "leaderboard", *asked, "--format", "csv", env={**environment, "ERRNO": number}
        )
        assert shown.returncode == 0 and "steady" in shown.stdout, shown.stderr


def test_an_installed_copy_has_what_a_checkout_has(tmp_path):
    """What `pip install .` puts into site-packages, without pip's taking it from the network."""
    built = tmp_path / "site-packages"
    build = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    build += ["build_py", "--build-lib", str(built)]
    subprocess.run(build, cwd=HERE, check=True, capture_output=True)
    for package in ("suite", "tasks", "baselines", "dashboard"):
        for path in (HERE / package).rglob("*"):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and path.parent.name != "screenshots"
            ):
                assert (built / path.relative_to(HERE)).is_file(), path
    for path in (*HERE.glob("results/*.toml"), *HERE.glob("results/claims/*.toml")):
        place = built / "suite" / "shipped" / path.relative_to(HERE / "results")
        assert place.read_bytes() == path.read_bytes()
    (tmp_path / "results").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(built)}
    done = subprocess.run(
        [sys.executable, "-m", "suite", "claims", "--task", "longtail-cls"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not run" in done.stdout
