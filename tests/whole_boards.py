"""Boards that commands make and print: every method of a task, trained once."""

import json
import subprocess
import sys


def board(folder, *arguments, task="longtail-seg"):
    command = [sys.executable, "-m", "suite", "leaderboard", "--task", task]
    printed = subprocess.run(
        [*command, "--format", "json", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)["rows"]


def every_method(folder, task, protocol="smoke"):
    """Method -> its row, after one run of each; the results are in `folder`."""
    command = [sys.executable, "-m", "suite", "run", "--task", task]
    command += ["--protocol", protocol, "--workers", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return {row["method"]: row for row in board(folder, "--protocol", protocol, task=task)}


def assert_all_differ(rows):
    """No two methods have the same values: each does what sets it apart. `rows`: method -> row."""
    same = {}
    for name, row in rows.items():
        same.setdefault(tuple(means(row).values()), set()).add(name)
    assert all(len(names) == 1 for names in same.values()), same


def means(row):
    """Metric key -> mean, of a row."""
    return {key: metric["mean"] for key, metric in row["metrics"].items()}
