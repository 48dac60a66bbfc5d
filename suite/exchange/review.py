"""A stranger's results: examined in full before anything of them is taken in.

Everything in the folder is taken for hostile. It is read through `suite.exchange.verify`'s bounded readers, links
are not followed, nothing is executed or unpickled, and nothing is written, neither there nor here. What is
imported afterwards (`suite.exchange.importing`) is made from what was examined: JSON is written anew from the validated
structures, arrays are packed anew, and scores are those computed here.

What cannot be found out: whether the training behind consistent predictions was what the spec says.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from suite.base.bounded import MAX_FILE, MAX_JSON, parse_arrays, read_file
from suite.base.canonical import canonical
from suite.base.errors import RecordError, UserError
from suite.define import variants
from suite.define.catalog import Catalog
from suite.define.method import Method
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.spec import RunSpec
from suite.define.task import direction
from suite.exchange.merge import present
from suite.exchange.reference import Ours, is_final, key_of, units_of
from suite.exchange.verify import Found, Watched, check_evaluations, read_attempt, record_problems
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.files import ATTEMPT, RUN_ID, Evaluation, Record, decode
from suite.records.fingerprint import Fingerprint, fingerprint
from suite.records.inputs import digest_of

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, dict[str, np.ndarray[Any, np.dtype[Any]]]]

Level = Literal["ok", "note", "problem"]

MAX_ENTRIES = 100_000
"""Files and folders looked at."""
MAX_RUNS = 10_000
_MAX_TEXT = 2000
_MAX_NAME = 200
_MAX_DEPTH = 12
_MAX_ITEMS = 1_000_000
_FLAG = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
_DAY = 86400.0

_ATTEMPT_FILES = {"record.json", "spec.json", "status.json", "predictions.npz"}
_LEFT_OUT = {"weights.safetensors", "log.txt", "samples", "checkpoint"}
"""Of an attempt's folder, never opened: nothing here needs them, and an image or a log is a stranger's
text on the way to a browser or a terminal; weights would be trained on."""


@dataclass(frozen=True)
class Finding:
    """Result of one check. `ok`: in order; `note`: to be known; `problem`: stands against acceptance."""

    check: str
    level: Level
    text: str = ""


@dataclass
class Examined:
    """A run of the folder, examined: its newest finished attempt.

    `state`: new, here (imported already, or our own) or refused. `rows`: task -> rows computed here.
    `sha`: file name -> SHA-256 of the content that was examined. `sets`: prediction sets to be imported,
    but for `unread`, their arrays (`set/key`) that no score is made of.
    """

    folder: Path
    run_id: str
    number: int
    record: Record | None = None
    findings: list[Finding] = field(default_factory=list)
    rows: dict[str, list[MetricRow]] = field(default_factory=dict)
    prints: Fingerprint = field(default_factory=dict)
    sha: dict[str, str] = field(default_factory=dict)
    sets: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    here: Attempt | None = None

    @property
    def state(self) -> str:
        if any(finding.level == "problem" for finding in self.findings):
            return "refused"
        return "new" if self.here is None else "here"

    @property
    def passed(self) -> int:
        return sum(finding.level == "ok" for finding in self.findings)

    @property
    def method(self) -> str:
        return self.record.spec.method if self.record else ""

    @property
    def seed(self) -> Any:
        return self.record.spec.seed if self.record else ""

    def say(self, check: str, level: Level, text: str = "") -> None:
        self.findings.append(Finding(check, level, text))

    def judge(self, check: str, problems: Sequence[str]) -> None:
        for text in problems[:5]:
            self.say(check, "problem", text)
        if len(problems) > 5:
            self.say(check, "problem", f"... and {len(problems) - 5} more")
        if not problems:
            self.say(check, "ok")


@dataclass
class Review:
    """What is to be said of a folder. `findings` are of the folder itself; `comparison` are lines;
    `protocols`: hash -> those that it brings (`suite.define.variants`) for its runs and that are not known here."""

    folder: Path
    protocols: dict[str, tuple[variants.Variant, Protocol]] = field(default_factory=dict)
    runs: list[Examined] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    comparison: list[str] = field(default_factory=list)

    @property
    def acceptable(self) -> bool:
        """Whether nothing is wrong: one bad run and the whole folder is not."""
        bad = any(finding.level == "problem" for finding in self.findings)
        return bool(self.runs) and not bad and all(one.state != "refused" for one in self.runs)

    @property
    def new(self) -> list[Examined]:
        return [one for one in self.runs if one.state == "new"]

    def as_dict(self) -> dict[str, Any]:
        def listed(findings: Iterable[Finding]) -> list[dict[str, str]]:
            return [{"check": f.check, "level": f.level, "text": f.text} for f in findings]

        return {
            "folder": os.fsencode(self.folder).decode("utf-8", "backslashreplace"),
            "acceptable": self.acceptable,
            "findings": listed(self.findings),
            "comparison": self.comparison,
            "runs": [
                {
                    "run": one.run_id,
                    "attempt": one.number,
                    "method": one.method,
                    "protocol": one.record.spec.protocol if one.record else "",
                    "seed": one.record.spec.seed if one.record else None,
                    "state": one.state,
                    "findings": listed(one.findings),
                }
                for one in self.runs
            ],
        }


def review(folder: Path, root: Path, catalog: Catalog, data_root: Path | None = None) -> Review:
    """Examine the runs in `folder` against what is below `root`. Writes nothing.

    Raises UserError where there is no such folder; whatever is wrong inside of it is a finding.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if folder.resolve() == root.resolve():
        raise UserError(f"{folder}: is the results root itself; `verify` checks your own runs")
    made = Review(folder.absolute())
    made.runs = _find(made)
    for one in made.runs:
        _read(one)
    specs = {one.run_id: one.record.spec for one in made.runs if one.record is not None}
    made.protocols, problems = _protocols(folder, specs.values(), catalog)
    ours = Ours(root, catalog.having(made.protocols, problems), data_root)
    for one in made.runs:
        if one.record is not None:
            _examine(one, one.record, made, specs, ours)
    _duplicates(made.runs, ours)
    made.comparison = list(_comparison(made.runs, ours))
    return made


def _protocols(
    folder: Path, specs: Iterable[RunSpec], catalog: Catalog
) -> tuple[dict[str, tuple[variants.Variant, Protocol]], list[str]]:
    """The protocols of these runs that the folder brings, and a line on every file that is none. Links are
    not followed: what they lead to is not the sender's."""
    place = folder / "protocols"
    named = {f"{spec.protocol_hash}.json" for spec in specs}
    names = () if place.is_symlink() else variants.listing(folder)
    kept = tuple(n for n in names if n in named and not (place / n).is_symlink())
    return variants.found(folder, kept, catalog)


# -- finding


def _find(made: Review) -> list[Examined]:
    """The newest finished attempt of every run, after a look at every file's kind."""
    folder = made.folder
    walk = _Walk(made)
    found: list[Examined] = []
    try:
        if (folder / "record.json").is_symlink() or (folder / "record.json").exists():
            number = int(folder.name) if ATTEMPT.fullmatch(folder.name) else 0
            parent = folder.parent.name
            run_id = parent if RUN_ID.fullmatch(parent) and number else ""
            walk.attempt(folder, ".")
            found.append(Examined(folder, run_id, number))
        elif any(ATTEMPT.fullmatch(path.name) for path in folder.iterdir()):
            run_id = folder.name if RUN_ID.fullmatch(folder.name) else ""
            found += walk.run(folder, run_id, ".")
        else:
            for run in walk.entries(folder, "."):
                if run.name != "runs":
                    continue
                if not run.is_dir(follow_symlinks=False):
                    walk.say("problem", "runs: not a folder")
                    continue
                for entry in walk.entries(Path(run.path), "runs"):
                    if RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                        found += walk.run(Path(entry.path), entry.name, f"runs/{entry.name}")
                    elif not entry.name.startswith(("cancel-", ".")):
                        walk.say("problem", f"runs/{entry.name}: no run's folder")
                    if len(found) > MAX_RUNS:
                        walk.say("problem", f"more than {MAX_RUNS:,} runs")
                        raise _TooMany
    except _TooMany:
        pass
    except OSError as error:
        walk.say("problem", f"cannot be read ({error.strerror})")
    if not found and not made.findings:
        walk.say("problem", "no finished run: a folder with runs/<run id>/<attempt>/ is wanted")
    if not any(finding.level == "problem" for finding in made.findings):
        made.findings.append(Finding("files", "ok"))
    return found


class _TooMany(Exception):
    pass


class _Walk:
    """Folders looked through without following a link; what is neither file nor folder is a finding."""

    def __init__(self, made: Review) -> None:
        self.made, self.seen = made, 0

    def say(self, level: Level, text: str) -> None:
        if len(self.made.findings) < 100:
            text = os.fsencode(text).decode("utf-8", "backslashreplace")
            self.made.findings.append(Finding("files", level, text))

    def entries(self, folder: Path, where: str) -> list[os.DirEntry[str]]:
        """Entries by name. Raises _TooMany where there are too many."""
        kept = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self.seen += 1
                if self.seen > MAX_ENTRIES:
                    self.say("problem", f"more than {MAX_ENTRIES:,} files")
                    raise _TooMany
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    self.say("problem", f"{where}/{entry.name}: a link")
                elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    self.say("problem", f"{where}/{entry.name}: neither a file nor a folder")
                else:
                    kept.append(entry)
        return sorted(kept, key=lambda entry: entry.name)

    def run(self, folder: Path, run_id: str, where: str) -> Iterator[Examined]:
        numbers = []
        for entry in self.entries(folder, where):
            if ATTEMPT.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                if self.attempt(Path(entry.path), f"{where}/{entry.name}"):
                    numbers.append(int(entry.name))
            elif entry.name not in ("lock", "cancel.json") and not entry.name.startswith("."):
                self.say("note", f"{where}/{entry.name}: not looked at")
        if numbers:
            newest = max(numbers)
            yield Examined(folder / str(newest), run_id, newest)
            if len(numbers) > 1:
                self.say("note", f"{where}: {len(numbers) - 1} older attempt(s) not looked at")

    def attempt(self, folder: Path, where: str) -> bool:
        """Whether it is finished."""
        names = set()
        for entry in self.entries(folder, where):
            names.add(entry.name)
            if entry.name == "evaluations":
                if entry.is_dir(follow_symlinks=False):
                    self.entries(Path(entry.path), f"{where}/evaluations")
                else:
                    self.say("problem", f"{where}/evaluations: not a folder")
            elif entry.name not in _ATTEMPT_FILES | _LEFT_OUT and not entry.name.startswith("."):
                self.say("note", f"{where}/{entry.name}: not looked at")
        if "record.json" not in names:
            self.say("note", f"{where}: not finished; not looked at")
        return "record.json" in names


# -- examining one run


def _read(one: Examined) -> None:
    """Record and identity: what it says about itself agrees with where it lies."""
    try:
        found = read_attempt(one.folder)
        record = found.record
        problems = list(found.problems)
        values: list[Record | Evaluation] = [record, *found.evaluations]
        for value in values:
            problem = _unreasonable(value)
            if problem:
                raise RecordError(problem)
    except (RecordError, FileNotFoundError) as error:
        one.say("schema", "problem", _short(error, one.folder))
        return
    one.run_id, one.number = one.run_id or record.run_id, one.number or record.attempt
    if not RUN_ID.fullmatch(one.run_id):
        one.say("schema", "problem", "says a run id that is none")
        one.run_id = ""
        return
    if (record.run_id, record.attempt) != (one.run_id, one.number):
        problems.append(
            f"says run {record.run_id[:40]}, attempt {record.attempt}; lies in the folder of run "
            f"{one.run_id}, attempt {one.number}"
        )
    try:
        spec = decode(RunSpec, read_file(one.folder / "spec.json", MAX_JSON), Path("spec.json"))
        if canonical(spec) != canonical(record.spec):
            problems.append("spec.json is not the record's spec")
    except FileNotFoundError:
        pass
    except (RecordError, ValueError, RecursionError) as error:
        problems.append(_short(error, one.folder))
    one.judge("schema", problems)
    if not problems:
        one.record = record
        one.sha = {"record.json": _sha(one.folder / "record.json", MAX_JSON)}


def _examine(
    one: Examined,
    record: Record,
    made: Review,
    specs: Mapping[str, RunSpec],
    ours: Ours,
) -> None:
    catalog, runs = ours.catalog, made.runs
    spec = record.spec
    protocol = catalog.protocols.get(spec.protocol_hash)
    if protocol is None:
        names = {p.name for p in catalog.protocols.values()}
        why = "here it is another one of that name" if spec.protocol in names else "not known here"
        file = f"{spec.protocol_hash}.json"
        why = "; ".join([why, *(line for line in catalog.problems if file in line)])
        one.say("protocol", "problem", f"{spec.protocol!r} ({spec.protocol_hash}): {why}")
        return
    if spec.protocol != protocol.name:
        one.say("protocol", "problem", f"calls {protocol.name!r} {spec.protocol!r}")
        return
    if protocol.hash in made.protocols:
        brought = (
            f"{protocol.name!r} ({protocol.summary}) comes with the folder, as a board of its own"
        )
        one.say("protocol", "note", brought)
    else:
        one.say("protocol", "ok")
    method = _known_method(catalog, spec)
    one.judge("record", [*record_problems(record, protocol, catalog), *_odd(record)])
    _method(one, record, protocol, method, specs, ours)
    _inputs(one, record, runs, ours)
    one.judge("budget", _budget(record, protocol, method, runs, ours))
    _data(one, record, protocol, ours)
    try:
        found = read_attempt(one.folder)
        content = read_file(one.folder / "predictions.npz", MAX_FILE)
        predictions = parse_arrays(content, Path("predictions.npz"))
    except (RecordError, FileNotFoundError) as error:
        one.say("predictions", "problem", _short(error, one.folder))
        return
    one.sha["predictions.npz"] = hashlib.sha256(content).hexdigest()
    del content
    one.prints = fingerprint(predictions)
    _predictions(one, record, protocol, predictions, ours)
    watched = {name: Watched(arrays) for name, arrays in predictions.items()}
    _metrics(one, found, watched, protocol, ours)
    _unread(one, watched, protocol)
    one.here, same = present(ours.root, record, one.prints)
    if one.here is not None and not same:
        one.say("duplicate", "problem", f"is here as attempt {one.here.number}, with other arrays")
    elif one.here is not None:
        one.say("duplicate", "note", f"is here already, as attempt {one.here.number}")
    elif any(_one_code(ours, record, a) for a in attempts(ours.root, one.run_id)):
        text = "this run is here, finished, of the same code: an external one never takes its place"
        one.say("duplicate", "problem", text)


def _one_code(ours: Ours, record: Record, attempt: Attempt) -> bool:
    """Whether our attempt is finished, of the code that the record names."""
    here = finished_digest(attempt)
    if here is None or here == record.digest:
        return here is not None
    try:
        today = digest_of(ours.root, ours.catalog, record.spec)
    except UserError:
        return False
    code = ours.catalog.code
    return code.same(here, today) and code.same(record.digest, today)


def _known_method(catalog: Catalog, spec: RunSpec) -> Method | None:
    try:
        return catalog.method(spec)
    except UserError:
        return None


def _method(
    one: Examined,
    record: Record,
    protocol: Protocol,
    method: Method | None,
    specs: Mapping[str, RunSpec],
    ours: Ours,
) -> None:
    """Parameters by the card, code digest, and the flags that follow from the card."""
    catalog, spec = ours.catalog, record.spec
    if method is None:
        try:
            catalog.method(spec)
        except UserError as error:
            unknown = not _named(catalog, spec.method)
            one.say("method", "note" if unknown else "problem", _short(error, one.folder))
        return
    params = {
        f"{part.key}.{key}" if part.key else key: value
        for part in method.parts
        for key, value in part.params.items()
    }
    try:
        links = {
            k: spec.params.get(k, _default(catalog, spec.method, k)) for k in _links(catalog, spec)
        }
        again = catalog.spec(spec.method, protocol, spec.seed, {**params, **links}, spec.inputs)
        problems = [] if again.run_id == spec.run_id else ["its parameters are not in their form"]
    except (UserError, TypeError) as error:
        problems = [_short(error, one.folder)]
    if set(spec.inputs) != set(catalog.card(spec.method).needs.inputs):
        problems.append("its input runs are not those that its method needs")
    try:
        today = digest_of(ours.root, catalog, spec, specs)
        code = "same" if catalog.code.same(record.digest, today) else "other"
    except UserError:
        today, code = "", "unknown"
    # earlier digests were made of files of another layout, which are not here any more
    files = set(filter(None, record.files.values()))
    if record.digest == today and files != set(filter(None, method.files.values())):
        problems.append("the digests of its files are not those of its code digest")
    missing = method.flags - set(record.flags)
    if code == "same" and missing:
        problems.append(f"lacks the flag {sorted(missing)[0]!r}, which its method has")
    one.judge("method", problems)
    if code != "same":
        text = "another version of its code than here: its rows will be shown as stale"
        one.say("code", "note", text if code == "other" else "its code cannot be compared")
    else:
        one.say("code", "ok")


def _named(catalog: Catalog, method: str) -> bool:
    try:
        catalog.source(method)
    except UserError:
        return False
    return True


def _links(catalog: Catalog, spec: RunSpec) -> Sequence[str]:
    return tuple(catalog.card(spec.method).built_on)


def _default(catalog: Catalog, method: str, key: str) -> Any:
    return catalog.card(method).params[key].neutral


def _inputs(one: Examined, record: Record, runs: Sequence[Examined], ours: Ours) -> None:
    """Every input run is in the folder or here, as it was when the run took it."""
    if not record.inputs:
        return
    theirs = {run.run_id: run for run in runs}
    problems = []
    for role, named in record.inputs.items():
        beside = theirs.get(named.run_id)
        if beside is not None and beside.record is not None:
            there = beside.record.attempt, beside.record.digest, beside.record.spec.method
            if there != (named.attempt, named.digest, named.method):
                problems.append(f"its {role} run is another attempt than the one in the folder")
        elif ours.finished(named.run_id, named.digest) is None:
            problems.append(f"its {role} run {named.run_id[:40]} is neither in the folder nor here")
    one.judge("inputs", problems)


def _budget(
    record: Record,
    protocol: Protocol,
    method: Method | None,
    runs: Sequence[Examined],
    ours: Ours,
) -> list[str]:
    """Iterations and samples are the protocol's, those of input runs added."""
    budget, cost = protocol.budget, record.cost
    extra = "extra-budget" in record.flags
    if method is not None and extra and not (method.extra_budget or "extra-budget" in method.flags):
        return ["has the flag extra-budget, which its method has not"]
    if budget is None or extra:
        return []
    if cost.iterations != budget.iterations:
        return [f"{cost.iterations:,} iterations, the protocol has {budget.iterations:,}"]
    samples = budget.iterations * budget.batch
    theirs = {run.run_id: run.record for run in runs}
    for named in record.inputs.values():
        before = theirs.get(named.run_id) or ours.finished(named.run_id, named.digest)
        samples += before.cost.samples_seen if before else 0
    if cost.samples_seen != samples:
        return [f"{cost.samples_seen:,} samples seen, the protocol has {samples:,}"]
    return []


def _data(one: Examined, record: Record, protocol: Protocol, ours: Ours) -> None:
    """Checksums and class counts of the training data, against our runs or our copy of the data."""
    known = ours.data(protocol)
    variant = "data-variant" in record.flags
    alike = [our for our in known if our.data == record.data]
    if alike:
        mine = record.class_counts, record.classes
        if all(our.variant != variant for our in alike):
            text = "the same copy of the data here has the flag data-variant: so should it"
            one.say("data", "problem", "has a false flag data-variant" if variant else text)
        elif mine not in [(our.counts, our.classes) for our in alike]:
            one.say("data", "problem", "class counts or names are not those of the data here")
        elif not record.data:
            one.say("data", "note", "class counts agree; the protocol records no checksums")
        else:
            one.say("data", "ok")
    elif variant:
        one.say("data", "note", "says that it was trained on another copy of the data")
    elif all(our.variant for our in known):
        why = "our own copy is a variant" if known else "no run and no data of this protocol here"
        one.say("data", "note", f"cannot be checked: {why}")
    else:
        (first, *_) = (our for our in known if not our.variant)
        both = {*record.data, *first.data}
        odd = sorted(name for name in both if record.data.get(name) != first.data.get(name))
        one.say("data", "problem", f"checksum of {odd[0][:60]!r} is not that of the data here")


def _predictions(
    one: Examined, record: Record, protocol: Protocol, predictions: Arrays, ours: Ours
) -> None:
    """The sets are the protocol's, and the arrays that are the same in all our runs are the same here."""
    problems = [
        f"the set {name!r} is not stored"
        for name in protocol.prediction_sets
        if name not in predictions
    ]
    allowed = {*protocol.prediction_sets, *protocol.extra_sets, *protocol.views}
    problems += [f"the protocol has no set {name!r}" for name in predictions if name not in allowed]
    checked = False
    for name, wanted in ours.constants(protocol, record.data).items():
        if name in one.prints:
            checked = True
            if one.prints[name] != wanted:
                text = f"{name.removesuffix('.npy')} is the same in all our runs on this data, not here"
                problems.append(text)
    if not problems:
        for task, units in ours.units(protocol, record.data).items():
            checked = True
            if units_of(ours.catalog.task(task), protocol, predictions, record) != units:
                problems.append(f"its test units (labels) are not those of our runs ({task})")
    one.judge("predictions", problems)
    if not checked:
        one.say("labels", "note", "cannot be compared: too few runs on this data here")


def _unread(one: Examined, watched: Mapping[str, Watched], protocol: Protocol) -> None:
    """What no score is made of cannot be held against one: it is left out, and wrong in a set that every run
    stores."""
    if not one.rows:
        return
    left = [name for name, arrays in watched.items() if not arrays.read]
    for name in left:
        one.say("predictions", "note", f"no score is made of the set {name!r}: left out")
    one.sets = frozenset(watched) - set(left)
    one.prints = {
        name: value for name, value in one.prints.items() if name.partition("/")[0] in one.sets
    }
    odd = [
        f"{name}/{key}"
        for name, arrays in watched.items()
        for key in arrays
        if arrays.read and key not in arrays.read
    ]
    one.unread = frozenset(odd)
    one.prints = {
        name: value
        for name, value in one.prints.items()
        if name.removesuffix(".npy") not in one.unread
    }
    wrong = [name for name in odd if name.partition("/")[0] in protocol.prediction_sets]
    if wrong:
        one.say(
            "predictions", "problem", f"no score is made of {wrong[0][:100]} ({len(wrong)} such)"
        )
    elif odd:
        one.say(
            "predictions", "note", f"no score is made of {odd[0][:100]} ({len(odd)} such): left out"
        )


def _metrics(
    one: Examined,
    found: Found,
    predictions: Mapping[str, Watched],
    protocol: Protocol,
    ours: Ours,
) -> None:
    """Every evaluation of today's version is what the predictions give."""
    attempt = Attempt(ours.root, one.run_id, one.number)
    checked, one.rows = check_evaluations(attempt, found, predictions, protocol, ours.catalog)
    problems = []
    for c in checked:
        if c.state == "damaged":
            problems.append(f"{c.task}: {c.why}")
        elif c.state == "mismatch":
            wrong = c.compared.mismatches
            first = wrong[0]
            problems.append(
                f"{c.task}: {len(wrong)} row(s) are not what the predictions give: {first.name[:100]} is "
                f"{first.stored}, recomputed {first.recomputed}"
            )
        elif c.state != "match":
            one.say("metrics", "note", f"{c.task}: {c.why}")
    if not problems and not any(c.state == "match" for c in checked):
        problems.append(
            "no evaluation of today's version to hold the predictions against: have them evaluated with "
            "this version of the suite"
        )
    for task in ours.catalog.tasks().values():
        if protocol in task.protocols and task.name not in one.rows and not problems:
            problems.append(f"{task.name}: cannot be recomputed")
    problems += _masquerading(found.record.rows, one.rows)
    one.judge("metrics", problems)
    hooks = sum(c.compared.hooks for c in checked)
    if hooks:
        text = f"{hooks} row(s) were made during training: taken on trust"
        one.say("metrics", "note", text)


def _masquerading(hooks: Sequence[MetricRow], made: Mapping[str, list[MetricRow]]) -> list[str]:
    """Rows made during training that would be read as final scores of the stored predictions."""
    computed = {row.metric for rows in made.values() for row in rows if row.source == "arrays"}
    odd = [row for row in hooks if row.step is None and row.metric in computed]
    if not odd:
        return []
    return [f"{odd[0].key[:100]} is said to be made in training, but is made of predictions"]


# -- duplicates and comparison


def _duplicates(runs: Sequence[Examined], ours: Ours) -> None:
    """The same predictions under another seed, method or parameters."""
    seen: dict[str, list[tuple[str, RunSpec, bool]]] = {}
    for one in runs:
        if one.record is None or not one.prints:
            continue
        hash_ = one.record.spec.protocol_hash
        if hash_ not in seen:
            seen[hash_] = list(ours.predicted(hash_))
        seen[hash_].append((key_of(one.prints), one.record.spec, one.record.infers))
    for one in runs:
        if one.record is None or not one.prints:
            continue
        spec = one.record.spec
        protocol = ours.catalog.protocols[spec.protocol_hash]
        for key, other, infers in seen[spec.protocol_hash]:
            if key != key_of(one.prints) or other.run_id == spec.run_id:
                continue
            text = (
                f"predictions equal those of run {other.run_id} ({other.method}, seed {other.seed})"
            )
            if other.seed != spec.seed and protocol.replicate == "seed":
                one.say("duplicate", "problem", f"{text}: another seed never gives the same")
            elif infers or one.record.infers:
                one.say("duplicate", "note", f"{text}: one of them adapts stored scores")
            else:
                one.say("duplicate", "problem", f"{text}: nothing new")
            break


def _comparison(runs: Sequence[Examined], ours: Ours) -> Iterator[str]:
    """Their mean beside ours, of the same protocol, method and parameters, in words."""
    from suite.stats import tests as stats

    rows: dict[tuple[str, str, bytes, str], list[float]] = {}
    names: dict[str, str] = {}
    for one in runs:
        if one.record is None:
            continue
        spec = one.record.spec
        names[spec.protocol_hash] = spec.protocol
        for name, made in one.rows.items():
            primary = ours.catalog.task(name).primary[0]
            for row in made:
                if is_final(row, primary) and row.value is not None:
                    key = (name, spec.protocol_hash, canonical(spec.params), spec.method)
                    rows.setdefault(key, []).append(row.value)
    for (task_name, hash_, params, method), theirs in sorted(rows.items()):
        task = ours.catalog.task(task_name)
        primary = task.primary[0]
        mine = ours.scores(task, hash_, method, params)
        what = f"{task_name}, {names[hash_]}, {method}: {primary}"
        mean = math.fsum(theirs) / len(theirs)
        if not mine:
            yield f"{what} {mean:.4f} (n={len(theirs)}); no run of ours to compare"
            continue
        difference = mean - math.fsum(mine) / len(mine)
        better = (difference > 0) == direction(task, primary)
        text = (
            f"{what} theirs {mean:.4f} (n={len(theirs)}), ours {mean - difference:.4f} "
            f"(n={len(mine)}), difference {difference:+.4f}"
        )
        if min(len(theirs), len(mine)) < 2:
            yield f"{text}: too few seeds for a test"
            continue
        p = stats.welch(theirs, mine)
        if p > stats.ALPHA:
            yield f"{text}: no significant difference (Welch p = {p:.2g})"
        else:
            word = "better" if better else "worse"
            yield f"{text}: theirs is significantly {word} (Welch p = {p:.2g}); ask why"


# -- helpers


def _odd(record: Record) -> list[str]:
    """What no record of ours holds, though it breaks no rule of the schema."""
    found = []
    if record.finished > time.time() + _DAY:
        found.append("finished in the future")
    if any(not _FLAG.fullmatch(flag) for flag in record.flags):
        found.append("a flag is no word in small letters")
    seed = record.environment.get("seed", record.spec.seed)
    if seed != record.spec.seed:
        found.append("its environment tells of another seed than its spec")
    return found


def _unreasonable(value: Record | Evaluation) -> str | None:
    """Why a decoded file is too deep, too long or out of range. msgspec has checked types only."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    items = 0
    while waiting:
        one, depth = waiting.pop()
        items += 1
        if depth > _MAX_DEPTH:
            return f"nested deeper than {_MAX_DEPTH}"
        if items > _MAX_ITEMS:
            return f"more than {_MAX_ITEMS:,} values"
        if isinstance(one, str):
            if len(one) > _MAX_TEXT:
                return f"a text of {len(one):,} characters"
        elif isinstance(one, bool) or one is None:
            continue
        elif isinstance(one, int):
            if not -(1 << 63) <= one < 1 << 63:
                return "a number is out of the 64-bit range"
        elif isinstance(one, float):
            if not math.isfinite(one):
                return f"holds {one}"
        elif isinstance(one, msgspec.Struct):
            waiting += [(getattr(one, name), depth + 1) for name in one.__struct_fields__]
        elif isinstance(one, dict):
            waiting += [(key, depth + 1) for key in one]
            waiting += [(item, depth + 1) for item in one.values()]
        elif isinstance(one, list | tuple):
            waiting += [(item, depth + 1) for item in one]
    spec = getattr(value, "spec", None)
    names = [spec.method, spec.protocol, spec.protocol_hash] if spec else []
    if any(len(name) > _MAX_NAME for name in names):
        return "a name is too long"
    return None


def _sha(path: Path, limit: int) -> str:
    return hashlib.sha256(read_file(path, limit)).hexdigest()


def _short(error: object, folder: Path) -> str:
    """A message without the folder that every one of them would repeat."""
    return " ".join(str(error).replace(f"{folder}/", "").split())[:400]
