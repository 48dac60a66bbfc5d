"""Fault campaign: a suite of runs on a real SLURM while jobs, nodes and daemons are broken at random.

    python benchmarks/slurm_faults.py [--faults 120] [--seed 0] [--runs 120] [--folder DIR]

Needs root and Debian's slurmctld, slurmd, slurm-client, munge, slurmdbd and mariadb-server. The fake
task of the tests trains: its result depends on every draw of every step, so a resume that is not exact
shows, and it can be computed here without the suite. After the last fault the runs are brought to
their end with `retry` and `run` as a user would, and then compared: each must be finished in exactly
one attempt, stand once in the store, and have the undisturbed number. Exit code 1 if one does not.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "fake"))
PATH = f"{TESTS.parent}{os.pathsep}{TESTS / 'fake'}"
"""This checkout, and the fake task, for every process started."""

from cluster import Cluster, Lab, missing, started, until  # noqa: E402
from fake_task import STEPS  # noqa: E402

from suite.records.attempt import attempts  # noqa: E402
from suite.records.files import RunSpec, Status, read  # noqa: E402

STARTS = {"steady": 0.0, "brisk": 3.0, "calm": -3.0}
SITE = "[test]\nbackoff_seconds = 1\nsignal_seconds = 5\nmem = '450M'\n"
SLOW = [word for m in STARTS for word in ("--set", f"{m}.sleep=0.1")]
HUNGRY = ["--method", "steady", "--set", "steady.sleep=0.1", "--set", "steady.what=memory",
          "--set", "steady.at=20"]  # fmt: skip
RAISING = ["--method", "calm", "--set", "calm.what=code", "--set", "calm.at=20"]
COMMON = ["run", "--task", "fake", "--on", "slurm", "--site", "test", "--checkpoint-seconds", "0.3"]


class Campaign:
    """Injects faults into the jobs of one lab; `counts` says how many of each kind took effect."""

    def __init__(self, lab: Lab, generator: random.Random, commands: list[list[str]]) -> None:
        self.lab, self.random, self.commands = lab, generator, commands
        self.counts: Counter[str] = Counter()
        self.kinds: dict[str, Callable[[], bool]] = {
            "USR2 to a job": self.usr2,
            "scontrol requeue": self.requeue,
            "SIGKILL to a step": self.step,
            "SIGKILL to a worker": self.worker,
            "SIGKILL to a job's main process": self.supervisor,
            "scancel": self.scancel,
            "node set down, slurmd killed": self.node,
            "slurmctld killed and restarted": self.controller,
            "submission from a second shell": self.second_shell,
            "submission killed half-way": self.killed_shell,
        }

    def inject(self) -> None:
        """One fault of a random kind; it counts if there was something to break."""
        name = self.random.choice(list(self.kinds))
        if self.kinds[name]():
            self.counts[name] += 1

    def jobs(self) -> list[str]:
        text = self.lab.cluster.call("squeue", "-h", "-t", "RUNNING", "-o", "%i", check=False)
        return text.split()

    def on_a_job(self, *command: str, suffix: str = "") -> bool:
        jobs = self.jobs()
        if not jobs:
            return False
        done = subprocess.run(
            [*command, self.random.choice(jobs) + suffix],
            env=self.lab.cluster.environment,
            capture_output=True,
        )
        return done.returncode == 0

    def usr2(self) -> bool:
        return self.on_a_job("scancel", "--signal=USR2")

    def requeue(self) -> bool:
        return self.on_a_job("scontrol", "requeue")

    def step(self) -> bool:
        return self.on_a_job("scancel", suffix=".0")

    def scancel(self) -> bool:
        return self.on_a_job("scancel")

    def worker(self) -> bool:
        paths = list(self.lab.root.glob("runs/*/1/status.json"))
        running = [status for path in paths if (status := _status(path)).state == "running"]
        running = [status for status in running if Path(f"/proc/{status.pid}").exists()]
        return bool(running) and _kill(self.random.choice(running).pid)

    def supervisor(self) -> bool:
        found = subprocess.run(
            ["pgrep", "-f", f"submitit.core._submit {self.lab.root}"],
            capture_output=True,
            text=True,
        ).stdout.split()
        found = [pid for pid in found if _is_python(pid)]
        return bool(found) and _kill(int(self.random.choice(found)))

    def node(self) -> bool:
        cluster, name = self.lab.cluster, f"node{self.random.randint(1, 4)}"
        if not _kill(cluster.pid(f"slurmd-{name}")):
            return False
        cluster.call(
            "scontrol", "update", f"nodename={name}", "state=down", "reason=campaign", check=False
        )
        time.sleep(self.random.uniform(0.5, 4))
        cluster.script("slurmd", name)
        cluster.call("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        return True

    def controller(self) -> bool:
        killed = _kill(self.lab.cluster.pid("slurmctld"))
        time.sleep(self.random.uniform(0.2, 3))
        self.lab.cluster.script("slurmctld")
        return killed

    def second_shell(self) -> bool:
        shells = [self.lab.start(*self.random.choice(self.commands)) for _ in range(2)]
        for shell in shells:
            shell.communicate()
        return True

    def killed_shell(self) -> bool:
        shell = self.lab.start(*self.random.choice(self.commands))
        time.sleep(self.random.uniform(0.1, 0.8))
        shell.kill()
        shell.communicate()
        return True


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_python(pid: str) -> bool:
    try:
        return "python" in os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False


def _status(path: Path) -> Status:
    try:
        return read(Status, path)
    except Exception:
        return Status(state="done", digest="", started=0.0, heartbeat=0.0)


def expected(spec: RunSpec) -> float:
    """The undisturbed result, computed without the suite."""
    generator, total = random.Random(spec.seed), STARTS[spec.method]
    for _ in range(STEPS):
        total += generator.random()
    return total / (2 * STEPS)


def bring_to_the_end(lab: Lab, commands: list[list[str]], seconds: float) -> None:
    """What a user does: look, and try again what was lost, until all is done or failed by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        runs = lab.runs().values()
        states = Counter(run["state"] for run in runs)
        print(f"    {dict(states)}", flush=True)
        lab.cluster.resume()
        if any("retry" in (run["note"] or "") for run in runs):
            lab.suite("retry", code=None)
        elif not states["running"] and not states["queued"]:
            left = [r for r in runs if r["state"] != "done" and not _by_itself(r)]
            if not left:
                return
            # twice the memory, as the message suggests; then whatever was never begun
            lab.suite("retry", "--mem", "1500M", code=None)
            for command in commands:
                lab.suite(*command, code=None)
        time.sleep(3)
    print("time is up")


def _by_itself(run: dict[str, object]) -> bool:
    failure = run["failure"]
    return isinstance(failure, dict) and failure["kind"] == "code"


def check(lab: Lab, wanted: int) -> Counter[str]:
    """What is wrong in the end."""
    wrong: Counter[str] = Counter()
    raising = 0
    for folder in (lab.root / "runs").iterdir():
        known = attempts(lab.root, folder.name)
        finished = [attempt for attempt in known if attempt.finished]
        spec = read(RunSpec, known[0].path / "spec.json")
        if spec.params["what"] == "code":
            raising += 1
            failure = known[0].status().failure
            wrong["wrong failures"] += failure is None or failure.kind != "code" or bool(finished)
            continue
        wrong["runs lost"] += not finished
        wrong["duplicates"] += len(finished) > 1 or len(known) > 1
        for attempt in finished:
            score = float(attempt.predictions()["test"]["score"][0])
            wrong["wrong numbers"] += score != expected(spec)
            wrong["leftovers"] += (
                any(attempt.path.rglob("*.tmp")) or attempt.checkpoint_dir.exists()
            )
    runs = len(list((lab.root / "runs").iterdir()))
    wrong["runs lost"] += wanted - runs
    rows = json.loads(lab.suite("leaderboard", "--task", "fake", "--format", "json").stdout)["rows"]
    stored = Counter(run for row in rows for run in row["runs"])
    wrong["runs not once in the store"] += sum(n != 1 for n in stored.values())
    wrong["runs not once in the store"] += runs - len(stored)
    print(
        f"{runs} runs, {raising} of them raising; {sum(r['n'] for r in rows)} scored in the store"
    )
    return +wrong


def campaign(cluster: Cluster, given: argparse.Namespace, folder: Path) -> int:
    lab = Lab(cluster, folder, {"PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"})
    Path(lab.environment["LONGTAIL_SITES"]).write_text(SITE)
    half = given.runs // 6
    plain = [*COMMON, *SLOW, "--pack", "2", "--seeds", f"0-{half - 1}"]
    long = [*COMMON, *SLOW, "--pack", "12", "--time", "1", "--seeds", f"{half}-{2 * half - 1}"]
    hungry = [*COMMON, *HUNGRY, "--pack", "1", "--seeds", "0-3"]
    raising = [*COMMON, *RAISING, "--pack", "2", "--seeds", "0-3"]
    commands = [plain, long, hungry, raising]
    faults = Campaign(lab, random.Random(given.seed), commands)
    began = time.monotonic()
    # time limits come undisturbed, since a whole minute is the least that SLURM takes for one
    lab.suite(*long)
    until(lambda: _log_parts(lab, "code 75, to be queued again") >= 3, 150)
    faults.counts["time limit"] = _log_parts(lab, "code 75, to be queued again")
    for command in commands:
        lab.suite(*command)
    keeper = threading.Thread(target=_keep_going, args=(lab, commands, faults, given.faults))
    keeper.start()
    while sum(faults.counts.values()) < given.faults:
        time.sleep(faults.random.uniform(0.2, 2.0))
        faults.inject()
    keeper.join()
    bring_to_the_end(lab, commands, 1500)
    faults.counts["memory limit"] = _log_parts(lab, "exceeded memory limit")
    print(f"seed {given.seed}, {time.monotonic() - began:.0f} s; faults:")
    for name, count in sorted(faults.counts.items()):
        print(f"  {count:>4} {name}")
    print(f"  {sum(faults.counts.values()):>4} in all")
    wrong = check(lab, 6 * half + 8)
    for name in ("runs lost", "duplicates", "wrong numbers", *sorted(wrong)):
        print(f"{name}: {wrong[name]}")
    return 1 if wrong else 0


def _log_parts(lab: Lab, text: str) -> int:
    """In how many starts of a job its log has the text."""
    return sum(
        text in part
        for log in lab.root.glob("jobs/2*/slurm/*_log.out")
        for part in log.read_text(errors="replace").split("Starting with JobEnvironment")
    )


def _keep_going(lab: Lab, commands: list[list[str]], faults: Campaign, wanted: int) -> None:
    """Keep the queue filled while faults are injected."""
    while sum(faults.counts.values()) < wanted:
        time.sleep(10)
        lab.cluster.resume()
        lab.suite("retry", code=None)
        for command in commands:
            lab.suite(*command, code=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--faults", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--folder", type=Path, help="kept afterwards")
    given = parser.parse_args()
    if reason := missing("dbd"):
        sys.exit(reason)
    os.environ["PYTHONPATH"] = PATH
    with started("dbd") as cluster, tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        sys.exit(campaign(cluster, given, folder))


if __name__ == "__main__":
    main()
