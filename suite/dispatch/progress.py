"""Runs under way: counts by state, the commands that go on with them, what was submitted.

Pure functions on what `suite.dispatch.states` found.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from suite.base.command import Command
from suite.define.catalog import Catalog
from suite.define.spec import spelled
from suite.dispatch.batch import Batch
from suite.dispatch.states import BY_US, Settled, TrackedRun
from suite.records.again import Wanted, run_commands, settings_of_run
from suite.records.files import INFRASTRUCTURE
from suite.records.states import RUN_STATES, RunState

MOST_NAMED = 8
"""Runs or methods that a line names; a command with more takes all."""

Board = tuple[tuple[str, ...], str]
"""(names of the tasks that accept it, name) of a protocol."""


@dataclass(frozen=True)
class RunFilter:
    """Which runs are asked for: of a task, under the protocols of a name, of methods whose name contains
    a text, in some states; empty for any."""

    task: str = ""
    protocol: str = ""
    method: str = ""
    states: Collection[str] = ()

    def takes(self, tasks: Collection[str], protocol: str, method: str, state: str) -> bool:
        """Whether a run is asked for."""
        return (
            (not self.task or self.task in tasks)
            and (not self.protocol or self.protocol == protocol)
            and self.method.lower() in method.lower()
            and (not self.states or state in self.states)
        )


def chosen_runs(runs: Iterable[TrackedRun], choice: RunFilter) -> list[TrackedRun]:
    """Those of the runs that are asked for."""
    return [
        run
        for run in runs
        if choice.takes(run.tasks, run.spec.protocol, run.spec.method, run.state)
    ]


def tally(
    runs: Iterable[TrackedRun],
    settled: Settled,
    catalog: Catalog,
    choice: RunFilter,
) -> dict[Board, Counter[RunState]]:
    """Runs by protocol and state: those that were looked at, and those that the store knows as settled."""

    @cache
    def accepting(protocol_hash: str, protocol: str) -> tuple[str, ...]:
        known = catalog.protocol_with(protocol_hash, protocol)
        return tuple(task.name for task in catalog.accepting(known)) if known else ()

    found: dict[Board, Counter[RunState]] = {}
    for run in chosen_runs(runs, choice):
        found.setdefault((run.tasks, run.spec.protocol), Counter())[run.state] += 1
    for (protocol_hash, protocol, method, state), count in settled.counts.items():
        names = accepting(protocol_hash, protocol)
        if choice.takes(names, protocol, method, state):
            found.setdefault((names, protocol), Counter())[state] += count
    return dict(sorted(found.items(), key=lambda one: (not one[0][0], one[0])))


def failure_kinds(runs: Iterable[TrackedRun]) -> Counter[str]:
    """How many of the failed runs failed in which way."""
    return Counter(
        run.status.failure.kind
        for run in runs
        if run.state == "failed" and run.status is not None and run.status.failure is not None
    )


def next_commands(runs: Sequence[TrackedRun], catalog: Catalog, task: str = "") -> list[str]:
    """What to type to go on with these runs, none of which is under way. `task`: only of that one."""
    of = ["--task", task] if task else []
    found = []
    failed = failure_kinds(runs)
    by_others = any(run.state == "cancelled" and run.note != BY_US for run in runs)
    if by_others or not INFRASTRUCTURE.isdisjoint(failed):
        found.append(_line("retry", *of))
    others = sorted(set(failed) - INFRASTRUCTURE)
    if any(run.state == "cancelled" and run.note == BY_US for run in runs):
        others.append("cancelled")
    if others:
        found.append(_line("retry", *(word for kind in others for word in ("--kind", kind)), *of))
    stopped = [run for run in runs if run.state == "stopped"]
    if 0 < len(stopped) <= MOST_NAMED:
        found.append(_line("retry", *(run.spec.run_id for run in stopped)))
    elif stopped:
        found += _run_lines(stopped, catalog)
    return found + _run_lines([run for run in runs if run.state == "planned"], catalog)


def _run_lines(runs: Iterable[TrackedRun], catalog: Catalog) -> list[str]:
    """The `run`s that go on with these runs, under their own parameters; none for what is not known today."""
    groups: dict[tuple[str, str], dict[tuple[str, tuple[str, ...]], list[int]]] = {}
    known = set(catalog.methods())
    for run in runs:
        spec = run.spec
        protocol = catalog.protocol_with(spec.protocol_hash, spec.protocol)
        if protocol is None or not run.tasks or spec.method not in known:
            continue
        # what has no folder yet is wanted as its card has it
        settings = (
            []
            if run.state == "planned"
            else settings_of_run(run.item.attempt.root, catalog, protocol, spec.run_id)
        )
        if settings is not None:
            members = groups.setdefault((run.tasks[0], protocol.name), {})
            members.setdefault((spec.method, tuple(settings)), []).append(spec.seed)
    return [
        str(command)
        for (task, name), members in sorted(groups.items())
        for command in run_commands(
            task,
            name,
            [Wanted(*one, tuple(sorted(seeds))) for one, seeds in sorted(members.items())],
        )
    ]


def _line(*words: str) -> str:
    return str(Command(*words))


@dataclass(frozen=True)
class Submission:
    """A batch of cluster jobs, and what has become of its runs.

    Attributes:
        created: Unix seconds.
        by: who submitted it, and where.
        asked: what was asked for, in a few words.
        resources: what each job asks for.
        states: its runs by what they are now.
    """

    id: str
    created: float
    by: str
    cluster: str
    state: str
    asked: str
    resources: str
    jobs: int
    states: Mapping[RunState, int]

    @property
    def runs(self) -> int:
        return sum(self.states.values())


def submission(batch: Batch, state_of: Mapping[str, RunState]) -> Submission:
    """`state_of`: run id -> state; a run that is not there has not begun."""
    runs = [assignment for job in batch.jobs for assignment in job]
    specs = [run.spec for run in runs]
    methods = list(dict.fromkeys(spec.method for spec in specs))
    more = f" and {len(methods) - MOST_NAMED} more" if len(methods) > MOST_NAMED else ""
    protocols = ", ".join(dict.fromkeys(spec.protocol for spec in specs))
    seeds = spelled(spec.seed for spec in specs)
    site = batch.site
    asks = {
        "profile": batch.site_name,
        "partition": site.partition,
        "time": site.time,
        "GPUs": site.gpus_per_node or None,
        "cores": site.cpus_per_task,
        "memory": site.mem,
    }
    states = Counter(state_of.get(spec.run_id, "planned") for spec in specs)
    return Submission(
        id=batch.id,
        created=batch.created,
        by=f"{batch.user} on {batch.host}" if batch.host else batch.user,
        cluster=batch.cluster,
        state=batch.state,
        asked=f"{', '.join(methods[:MOST_NAMED])}{more}; {protocols}; seeds {seeds}",
        resources=", ".join(f"{name} {value}" for name, value in asks.items() if value is not None),
        jobs=len(batch.jobs),
        states={name: states[name] for name in RUN_STATES if states[name]},
    )
