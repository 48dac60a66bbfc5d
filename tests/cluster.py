"""A real SLURM for tests (`tests/slurm/cluster.sh`), and what tests do to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from suite.define.catalog import Catalog
from suite.dispatch import slurm
from suite.dispatch import states as survey
from suite.records.attempt import attempts

SCRIPT = Path(__file__).parent / "slurm" / "cluster.sh"
RUN = ("run", "--task", "fake")
SLURM = ("--on", "slurm", "--site", "test")
SLOW = ("--set", "steady.sleep=0.08", "--set", "brisk.sleep=0.08", "--set", "calm.sleep=0.08")
SLOW_STEADY = ("--method", "steady", "--set", "steady.sleep=0.08")
CHECKPOINTS = ("--checkpoint-seconds", "0.2")

SITE = """
[test]
backoff_seconds = 1
signal_seconds = 5
mem = "500M"
pack = 1
"""


def missing(accounts: str) -> str:
    """Why no cluster can be started here; "" if one can."""
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    wanted = ["slurmctld", "slurmd", "squeue", "munged"]
    if accounts == "dbd":
        wanted += ["slurmdbd", "mariadbd"]
    # daemons lie in sbin, which is not on every PATH
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    lacking = [name for name in wanted if shutil.which(name, path=path) is None]
    if lacking:
        return (
            f"no {', '.join(lacking)} here: apt-get install slurmctld slurmd slurm-client munge "
            "slurmdbd mariadb-server"
        )
    return ""


class Cluster:
    """A running cluster of four nodes with two cores and two fake GPUs each."""

    def __init__(self, folder: Path, accounts: str, port: int) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLURM_CI_ROOT": str(folder),
            "SLURM_CONF": str(folder / "etc" / "slurm.conf"),
            "ACCT": accounts,
            "PORT": str(port),
        }

    def script(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(SCRIPT), *arguments], env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            # a daemon that does not start says so in its log alone
            logs = [f"{log.name}: {log.read_text()[-2000:]}" for log in self.folder.glob("log/*")]
            pytest.fail("\n".join([done.stdout, done.stderr, *logs]))

    def call(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def pid(self, daemon: str) -> int:
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def end(self, daemon: str) -> None:
        """End a daemon, and wait until it has gone."""
        pid = self.pid(daemon)
        os.kill(pid, signal.SIGTERM)

        def gone() -> bool:
            try:
                # whoever takes in orphans may not have heard of its end yet
                return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                return True

        until(gone, 30, f"{daemon} does not end")

    def resume(self) -> None:
        """What an administrator does: put nodes that SLURM has drained to work again."""
        for node in self.call("sinfo", "-h", "-N", "-t", "drain", "-o", "%N", check=False).split():
            self.call("scontrol", "update", f"nodename={node}", "state=resume", check=False)

    def ready(self, nodes: int = 4) -> None:
        """Wait until every node takes jobs and none is left."""

        def idle() -> bool:
            self.resume()
            self.call("scancel", "-u", "root", check=False)
            found = self.call("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split()
            return len(set(found)) == nodes

        until(idle, 60, "nodes are not idle")


def _ports(offset: int) -> int:
    """The first of twenty free ports. Below those that the system gives to connections: the daemons of
    another cluster keep some of these for as long as they live."""
    for number in range(os.getpid(), os.getpid() + 300):
        first = 20000 + number % 300 * 40 + offset
        with ExitStack() as held:
            try:
                for port in range(first, first + 20):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no twenty free ports in a row")


@contextmanager
def started(accounts: str) -> Iterator[Cluster]:
    """A cluster for the block. Skips the test where there can be none."""
    reason = missing(accounts)
    if reason:
        pytest.skip(reason)
    # sockets have short names: not below pytest's temporary folder
    folder = Path(f"/tmp/longtail-slurm-{os.getpid()}-{accounts}")
    cluster = Cluster(folder, accounts, _ports(20 if accounts == "none" else 0))
    try:
        cluster.script("up")
        yield cluster
    finally:
        cluster.script("down")


def until(holds: Callable[[], Any], seconds: float = 60, what: str = "") -> Any:
    """Wait until `holds()` is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, what or "it did not come about"
        time.sleep(0.4)
    return found


installed = cache(Catalog.load)
accepting = cache(survey._accepting)


class Lab:
    """One results root on the cluster, and the command line on it."""

    def __init__(self, cluster: Cluster, folder: Path, extra: Mapping[str, str]) -> None:
        self.cluster, self.folder = cluster, folder
        slurm.cluster.cache_clear()
        self.root = folder / "results"
        sites = folder / "sites.toml"
        sites.write_text(SITE)
        # as the fixtures of the test have set it, and the cluster's
        self.environment = {
            **os.environ,
            "PATH": cluster.environment["PATH"],
            "SLURM_CONF": cluster.environment["SLURM_CONF"],
            "LONGTAIL_SITES": str(sites),
            **extra,
        }

    def suite(self, *arguments: str, code: int | None = 0, timeout: float = 120) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "suite", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "suite", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(self) -> dict[str, dict[str, Any]]:
        """run id -> what `status --format json` says of it, without a process for every look."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("PATH", "SLURM_CONF"):
                patch.setenv(name, self.environment[name])
            # tests look twice a second; what is cached does not change while they do
            patch.setattr(survey, "_accepting", accepting)
            states, _ = survey.survey(self.root, installed())
        return {state.spec.run_id: state.as_dict() for state in states}

    def states(self) -> list[str]:
        return sorted(run["state"] for run in self.runs().values())

    def started(self, step: int = 1, count: int = 1) -> list[dict[str, Any]]:
        """Wait until `count` runs have reached `step`."""

        def running() -> list[dict[str, Any]] | None:
            found = [
                run
                for run in self.runs().values()
                if run["state"] == "running" and (run["step"] or 0) >= step
            ]
            return found if len(found) >= count else None

        return until(running, 60, "no run has begun")

    def settled(self, seconds: float = 120) -> list[str]:
        """Wait until nothing runs or waits; the states then."""

        def through() -> list[str] | None:
            found = self.states()
            return None if {"running", "queued"} & set(found) else found

        return until(through, seconds, "jobs go on for ever")


def board(suite: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """The board of the fake task as figures that must not depend on where it was made."""
    rows = json.loads(suite("leaderboard", "--task", "fake", "--format", "json").stdout)["rows"]
    return sorted(
        (
            row["method"],
            json.dumps(row["params"], sort_keys=True),
            row["state"],
            row["n"],
            row["rank"],
            json.dumps(row["metrics"], sort_keys=True),
            tuple(sorted(row["runs"])),
        )
        for row in rows
        if row["state"] != "planned"
    )


def whole(lab, expected):
    """Every run is finished in one attempt, stands once in the store, and the board is as expected."""
    for folder in (lab.root / "runs").iterdir():
        known = attempts(lab.root, folder.name)
        assert [attempt.number for attempt in known] == [1]
        assert known[0].finished
        # removed once the record stands, which is when the run counts as done
        until(
            lambda folder=known[0].checkpoint_dir: not folder.exists(), what="a checkpoint is kept"
        )
    assert board(lab.suite) == expected
    rows = json.loads(lab.suite("leaderboard", "--task", "fake", "--format", "json").stdout)["rows"]
    runs = [run for row in rows for run in row["runs"]]
    assert len(runs) == len(set(runs)) == len(list((lab.root / "runs").iterdir()))
