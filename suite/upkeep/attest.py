"""Whether a change of a method's code changes nothing: trained with the code of a commit and with today's.

Both codes are written out of git into temporary folders, and each trains in processes of its own, on the
CPU, into a results root of its own. What they leave is compared byte for byte (`suite.upkeep.equality`).
Where defaults have changed since, today's code trains with those of then: it is the runs of then that are to
go on to count.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from suite.base.errors import UserError, did_you_mean
from suite.define.card import read_card
from suite.define.catalog import Catalog
from suite.define.data import find_data
from suite.define.digest import method_digest, method_files
from suite.define.history import Attestation
from suite.define.protocol import Protocol
from suite.define.syntax import PROJECT
from suite.define.task import Task
from suite.records.attempt import Attempt, attempts
from suite.runs.plan import make_plan
from suite.upkeep.checkout import Checkout
from suite.upkeep.codes import Codes
from suite.upkeep.equality import (
    MAX_NAMED,
    RunContents,
    contents_of,
    counted,
    differences,
    evidence,
)

SMOKE = "smoke"
"""Name of the protocols that every task has for this: a training takes seconds."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """A method whose code at a commit is to be held against today's.

    Attributes:
        before, after: digests of its own file then and today, read by today's reader.
        commit: its 40 hex digits; "" where the method's code has never been another.
        trials: what to train it under.
    """

    method: str
    before: str
    after: str
    commit: str
    trials: tuple[tuple[Task, Protocol], ...]


@dataclass(frozen=True)
class Verdict:
    """`attestation` where both codes gave the same, else lines on what `differs`; `compared` says how much."""

    attestation: Attestation | None = None
    differs: tuple[str, ...] = ()
    compared: str = ""


@dataclass(frozen=True)
class Attester:
    """Where codes are held against each other.

    Attributes:
        folder: a temporary one, for earlier code that is only read, and for results.
        codes: codes of commits, to be run.
    """

    checkout: Checkout
    catalog: Catalog
    folder: Path
    data_root: Path | None
    # (method, protocol's hash) -> why it cannot be compared, and the defaults of then as `--set` takes them;
    # results folder -> what its training said
    _problems: dict[tuple[str, str], str] = field(default_factory=dict)
    _settings: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _said: dict[Path, str] = field(default_factory=dict)

    @cached_property
    def codes(self) -> Codes:
        return Codes(self.checkout, self.folder / "codes", self.data_root)

    # -- what has changed

    def change(self, method: str, since: str | None, protocols: Sequence[str] = ()) -> Change:
        """Raises UserError: an unknown method, or one whose code is not in this checkout; a commit without
        it; a protocol that its tasks have not, or whose data are not here."""
        source = self.catalog.source(method)
        package = (source.module or "").partition(".")[0]
        if package not in PROJECT or self.checkout.top not in source.path.parents:
            raise UserError(
                f"method {method!r} is not of this project but of {source.path}: its earlier code is not in "
                "this checkout's history"
            )
        trials = tuple(self._trials(method, protocols))
        after = method_digest(source.path)
        if self._at(self.checkout.head, package, method) != after:
            raise UserError(
                f"{source.path}, or what it imports, is not what git has of it; is it ignored there?"
            )
        if since is not None:
            commit = self.checkout.commit(since)
            before = self._at(commit, package, method)
        else:
            commit, before = self._last_other(package, method, after)
        return Change(method, before, after, commit, trials)

    def _trials(self, method: str, names: Sequence[str]) -> Iterator[tuple[Task, Protocol]]:
        """The protocols of these names of the method's tasks, each once."""
        tasks = [self.catalog.task(name) for name in self.catalog.card(method).tasks]
        seen: set[str] = set()
        for name in names or (SMOKE,):
            found = [(task, p) for task in tasks if (p := self._protocol(task, name)) is not None]
            if not found:
                raise UserError(self._no_protocol(method, tasks, name, bool(names)))
            for task, protocol in found:
                if protocol.hash not in seen:
                    seen.add(protocol.hash)
                    find_data(protocol, self.data_root)
                    yield task, protocol

    def _protocol(self, task: Task, name: str) -> Protocol | None:
        try:
            return self.catalog.protocol(task, name)
        except UserError:
            return None

    def _no_protocol(self, method: str, tasks: Sequence[Task], name: str, asked: bool) -> str:
        named = ", ".join(task.name for task in tasks)
        if not asked:
            return f"{method}: task {named} has no protocol {name!r}; name one with --protocol"
        for task in self.catalog.tasks().values():
            if self._protocol(task, name) is not None:
                return f"--protocol {name}: is of task {task.name!r}; {method!r} is for {named}"
        known = [name for task in tasks for name in task.protocols.names]
        return f"--protocol {name}: task {named} has no such protocol{did_you_mean(name, known)}"

    def _at(self, commit: str, package: str, method: str) -> str:
        """Digest of the method's file at a commit. Raises UserError where it has none."""
        for _, tree in self.checkout.trees([commit], package):
            path = self._file(tree, package, method)
            if path is not None:
                return method_digest(path)
            raise UserError(f"--since {commit[:12]}: has no method {method!r}")
        raise UserError(f"--since {commit[:12]}: has no folder {package}/, so no method {method!r}")

    def _last_other(self, package: str, method: str, today: str) -> tuple[str, str]:
        """The newest commit at which the method's digest is not today's, and that digest."""
        seen: set[str] = set()
        # of the tree looked at last: content of the files behind the digest, which was today's
        same: set[tuple[str, str]] = set()
        for commit, tree in self.checkout.trees(self.checkout.commits(), package):
            if tree in seen:
                continue
            seen.add(tree)
            contents = self.checkout.contents(tree)
            if same and same <= contents.items():
                continue
            path = self._file(tree, package, method)
            if path is None:
                continue
            digest = method_digest(path)
            if digest != today:
                return commit, digest
            names = (name.partition("/")[2] for name in method_files(path))
            same = {(name, contents[name]) for name in names}
        return "", today

    def _file(self, tree: str, package: str, method: str) -> Path | None:
        """The file of the method in a tree of the package."""
        folder = self.folder / "trees" / tree / package
        if not folder.exists():
            self.checkout.export(tree, folder)
        for path in sorted(folder.rglob("[!_]*.py")):
            try:
                card = read_card(path)
            except UserError:
                continue  # of another version of cards
            if card is not None and method in card.names:
                return path
        return None

    # -- whether it changes anything

    def train(self, changes: Sequence[Change], say: Say = lambda line: None) -> None:
        """Train all methods with both codes, those of one code and protocol in one process, which imports
        torch once; those whose runs would not be the same ones are left out. `say` is told of each."""
        together: dict[tuple[str, str], tuple[Task, Protocol, list[str]]] = {}
        for change in changes:
            for task, protocol in change.trials:
                problem = self._incomparable(change, task, protocol)
                if problem:
                    self._problems[change.method, protocol.hash] = problem
                    continue
                for commit in (change.commit, self.checkout.head):
                    group = together.setdefault((commit, protocol.hash), (task, protocol, []))
                    group[2].append(change.method)
        for (commit, hash_), (task, protocol, methods) in together.items():
            today = commit == self.checkout.head
            named = f"{', '.join(methods[:5])}{' and more' * (len(methods) > 5)}"
            of = "today" if today else commit[:12]
            say(f"{named}: training under {task.name}/{protocol.name} with the code of {of}")
            root = self._results(commit, protocol)
            settings = [one for m in methods for one in self._settings[m, hash_] if today]
            self._said[root] = self._train(commit, methods, task, protocol, root, settings)

    def _results(self, commit: str, protocol: Protocol) -> Path:
        return self.folder / "results" / protocol.hash / commit

    def _runs(self, change: Change, task: Task, protocol: Protocol) -> list[str]:
        """Ids of the method's run under the protocol and of its input runs."""
        plan = make_plan(
            self.folder / "nothing",
            self.catalog,
            task,
            protocol,
            methods=[change.method],
            settings=self._settings[change.method, protocol.hash],
        )
        return [item.spec.run_id for item in plan.items]

    def _as_then(self, method: str, protocol: Protocol, params: dict[str, Any]) -> list[str]:
        """Settings with which today's run has the identity parameters `params` of then: what has another
        default today, and what has come since, at the value that reproduces the old behaviour."""
        card, now = self.catalog.card(method), self.catalog.resolve(method, protocol, {})
        then = {key: param.neutral for key, param in card.params.items()} | params
        return [
            f"{method}.{key}={value!r}"
            for key, value in then.items()
            if key in now and value is not msgspec.UNSET and value != now[key]
        ]

    def verdict(self, change: Change) -> Verdict:
        """Compare what both codes gave, which `train` has trained."""
        runs: dict[str, tuple[RunContents, RunContents]] = {}
        differs: list[str] = []
        for task, protocol in change.trials:
            name = f"{task.name}/{protocol.name}"
            problem = self._problems.get((change.method, protocol.hash))
            if problem:
                return Verdict(differs=(f"{name}: {problem}",))
            ids = self._runs(change, task, protocol)
            before, after = (
                self._results(commit, protocol) for commit in (change.commit, self.checkout.head)
            )
            for root, of in ((before, change.commit[:12]), (after, "today")):
                problem = _failure(root, ids, self._said.get(root, ""))
                if problem:
                    return Verdict(differs=(f"{name}: with the code of {of}: {problem}",))
            found = dict(_pairs(before, after, ids))
            differs += [f"{name}: {line}" for line in _lines(found, change.method)]
            runs |= found
        if differs:
            return Verdict(differs=tuple(differs))
        attestation = Attestation(
            method=change.method,
            before=change.before,
            after=change.after,
            commit=change.commit,
            protocols={
                f"{task.name}/{protocol.name}": protocol.hash for task, protocol in change.trials
            },
            evidence=evidence(runs),
        )
        return Verdict(attestation, compared=counted(runs.values()))

    def _incomparable(self, change: Change, task: Task, protocol: Protocol) -> str | None:
        """Why the runs of both codes would not be the same ones; None where they are."""
        nothing = self.folder / "nothing"
        done = self.codes.suite(
            change.commit,
            "plan",
            *_options([change.method], task, protocol, nothing),
            "--format",
            "json",
        )
        if done.returncode:
            return f"the code of {change.commit[:12]} cannot plan it: {_last_line(done)}"
        then: dict[str, Any] = json.loads(done.stdout)
        # the code of before 2026-12 calls them runs
        planned: list[dict[str, Any]] = then["rows"] if "rows" in then else then["runs"]
        (of_then,) = (run["params"] for run in planned if run["method"] == change.method)
        settings = self._as_then(change.method, protocol, of_then)
        self._settings[change.method, protocol.hash] = settings
        if then["protocol_hash"] != protocol.hash:
            return (
                f"cannot be compared: its revision was raised since {change.commit[:12]} (protocol hash "
                f"{then['protocol_hash']} then, {protocol.hash} today)"
            )
        if {run["run"] for run in planned} != set(self._runs(change, task, protocol)):
            return (
                f"cannot be compared: other parameters or input runs than at {change.commit[:12]}, so "
                "today's runs are other runs"
            )
        return None

    def _train(
        self,
        commit: str,
        methods: Sequence[str],
        task: Task,
        protocol: Protocol,
        root: Path,
        settings: Sequence[str],
    ) -> str:
        """Train with the code of a commit; what it said where it failed, "" where it did not."""
        options = _options(methods, task, protocol, root)
        changed = [word for setting in settings for word in ("--set", setting)]
        done = self.codes.suite(commit, "run", *options, *changed, "--workers", "1")
        return f"exit code {done.returncode}: {_last_line(done)}" if done.returncode else ""


def _options(methods: Sequence[str], task: Task, protocol: Protocol, root: Path) -> tuple[str, ...]:
    # one option a method: earlier code knows no list of them
    named = [word for method in methods for word in ("--method", method)]
    under = ("--task", task.name, "--protocol", protocol.name)
    return (*under, *named, "--root", str(root), "--device", "cpu")


def _failure(root: Path, ids: Sequence[str], said: str) -> str:
    """Why one of the runs has failed or is not there (`said` by its process); "" where all are finished."""
    for run_id in ids:
        known = attempts(root, run_id)
        status = known[-1].status() if known else None
        if status is not None and status.failure is not None:
            return f"failed({status.failure.kind}): {status.failure.message}"
        if not known or not known[-1].finished:
            return said or f"run {run_id} did not come to its end"
    return ""


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1].removeprefix("Error: ")[:300] if lines else "no reason given"


def _pairs(
    before: Path, after: Path, ids: Sequence[str]
) -> Iterator[tuple[str, tuple[RunContents, RunContents]]]:
    """Run id -> what both codes have left of it."""
    for run_id in sorted(ids):
        for attempt in attempts(after, run_id):
            then = Attempt(before, attempt.run_id, attempt.number)
            yield attempt.run_id, (contents_of(then), contents_of(attempt))


def _lines(runs: dict[str, tuple[RunContents, RunContents]], method: str) -> Iterator[str]:
    for run_id, (before, after) in runs.items():
        found = differences(before, after)
        yield from (f"run {run_id}: {line}" for line in found[:MAX_NAMED])
        if len(found) > MAX_NAMED:
            yield f"run {run_id}: and {len(found) - MAX_NAMED} more arrays, weights or scores differ"
