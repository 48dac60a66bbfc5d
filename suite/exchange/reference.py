"""What a stranger's runs are held against: our own finished runs, and our copy of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.bounded import MAX_JSON, read_arrays, read_file
from suite.base.canonical import canonical
from suite.base.errors import RecordError, UserError
from suite.define.catalog import Catalog
from suite.define.data import find_data
from suite.define.flags import DATA_VARIANT, EXTERNAL
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.spec import RunSpec
from suite.define.task import Task
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.files import RUN_ID, Evaluation, Record, decode
from suite.records.fingerprint import Fingerprint, stored_fingerprint
from suite.records.inputs import digest_of
from suite.records.lookup import all_attempts
from suite.stats.bootstrap import UNITS

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, dict[str, np.ndarray[Any, np.dtype[Any]]]]


@dataclass(frozen=True)
class DataCopy:
    """A copy of a protocol's data, as a run of ours or the copy itself tells of it."""

    variant: bool
    data: dict[str, str]
    counts: list[int]
    classes: list[str]


class Reference:
    """What a stranger's runs are held against: our finished runs, but for external ones where it says `own`,
    and our copy of the data."""

    def __init__(self, root: Path, catalog: Catalog, data_root: Path | None) -> None:
        self.root, self.catalog, self.data_root = root, catalog, data_root
        self._data: dict[str, list[DataCopy]] = {}
        self._constants: dict[tuple[str, bytes], Fingerprint] = {}
        self._units: dict[tuple[str, bytes], dict[str, str]] = {}
        self._prints: dict[Path, Fingerprint | None] = {}

    @cached_property
    def records(self) -> dict[str, list[tuple[Attempt, Record]]]:
        """Protocol hash -> our finished attempts."""
        records: dict[str, list[tuple[Attempt, Record]]] = {}
        for attempt in all_attempts(self.root):
            try:
                record = attempt.record()
            except (FileNotFoundError, RecordError):
                continue
            records.setdefault(record.spec.protocol_hash, []).append((attempt, record))
        return records

    def own(self, hash_: str) -> list[tuple[Attempt, Record]]:
        return [pair for pair in self.records.get(hash_, ()) if EXTERNAL not in pair[1].flags]

    def witnesses(
        self, protocol: Protocol, data: Mapping[str, str]
    ) -> list[tuple[Attempt, Record]]:
        """Our runs on the same copy of the data."""
        return [pair for pair in self.own(protocol.hash) if pair[1].data == data]

    def finished(self, run_id: str, digest: str) -> Record | None:
        for attempt in attempts(self.root, run_id) if RUN_ID.fullmatch(run_id) else ():
            if finished_digest(attempt) == digest:
                try:
                    return attempt.record()
                except RecordError:
                    continue
        return None

    def data(self, protocol: Protocol) -> list[DataCopy]:
        """What is known of the protocol's training data: by our runs, else by reading them."""
        if protocol.hash not in self._data:
            copies: list[DataCopy] = []
            for _, r in self.own(protocol.hash):
                copy = DataCopy(DATA_VARIANT in r.flags, r.data, r.class_counts, r.classes)
                if copy not in copies:
                    copies.append(copy)
            self._data[protocol.hash] = copies or self._read_data(protocol)
        return self._data[protocol.hash]

    def _read_data(self, protocol: Protocol) -> list[DataCopy]:
        try:
            _, facts = protocol.build(find_data(protocol, self.data_root))
        except Exception:
            return []  # not here, or damaged: then it cannot be checked
        counts, classes = list(facts.class_counts), list(facts.classes)
        return [DataCopy(facts.variant, dict(facts.observed), counts, classes)]

    def prints(self, attempt: Attempt) -> Fingerprint | None:
        path = attempt.path / "predictions.npz"
        if path not in self._prints:
            self._prints[path] = stored_fingerprint(path)
        return self._prints[path]

    def constants(self, protocol: Protocol, data: Mapping[str, str]) -> Fingerprint:
        """Arrays that are the same in all our runs on this copy of the data, which differ in others: the
        test labels, say."""
        key = protocol.hash, canonical(data)
        if key not in self._constants:
            values: dict[str, list[tuple[int, int]]] = {}
            different = set()
            for attempt, _ in self.witnesses(protocol, data):
                prints = self.prints(attempt)
                if prints:
                    different.add(key_of(prints))
                    for name, value in prints.items():
                        values.setdefault(name, []).append(value)
            # a run of a post-hoc method shares every array with the one it was trained as
            self._constants[key] = {
                name: prints[0]
                for name, prints in values.items()
                if len(different) > 1 and len(prints) > 1 and len(set(prints)) == 1
            }
        return self._constants[key]

    def units(self, protocol: Protocol, data: Mapping[str, str]) -> dict[str, str]:
        """Task -> digest of the test units, of the first of our runs on this copy that tells it."""
        key = protocol.hash, canonical(data)
        if key not in self._units:
            self._units[key] = digests = {}
            for task in self.catalog.tasks().values():
                if protocol not in task.protocols or UNITS.of(task) is None:
                    continue
                for attempt, record in self.witnesses(protocol, data)[:5]:
                    try:
                        predictions = read_arrays(attempt.path / "predictions.npz")
                    except RecordError:
                        continue
                    digest = units_of(task, protocol, predictions, record)
                    if digest is not None:
                        digests[task.name] = digest
                        break
        return self._units[key]

    def predicted(self, hash_: str) -> Iterator[tuple[str, RunSpec, bool]]:
        """Digest of predictions, spec and `infers` of everything here, external runs too."""
        for attempt, record in self.records.get(hash_, ()):
            prints = self.prints(attempt)
            if prints:
                yield key_of(prints), record.spec, record.infers

    def scores(self, task: Task, hash_: str, method: str, params: bytes) -> list[float]:
        """Our values of the task's first metric, one a seed: of the newest attempt of today's code."""
        newest: dict[int, float] = {}
        own = self.own(hash_)
        protocol = self.catalog.protocol_with(hash_, *(record.spec.protocol for _, record in own))
        if protocol is None:
            return []
        for attempt, record in own:
            spec = record.spec
            if (spec.method, canonical(spec.params)) != (method, params):
                continue
            if self._of_other_code(record):
                continue
            path = attempt.evaluation_path(task.name, task.evaluation_hash(protocol))
            try:
                evaluation = decode(Evaluation, read_file(path, MAX_JSON), path)
            except (FileNotFoundError, RecordError):
                continue
            for row in evaluation.metrics:
                if is_final(row, task.primary[0]) and row.value is not None:
                    newest[spec.seed] = row.value
        return [newest[seed] for seed in sorted(newest)]

    def _of_other_code(self, record: Record) -> bool:
        """Whether it is known that the method's code is another today."""
        try:
            digest = digest_of(self.root, self.catalog, record.spec)
        except UserError:
            return False
        return not self.catalog.code.same(record.digest, digest)


def units_of(task: Task, protocol: Protocol, predictions: Arrays, record: Record) -> str | None:
    from suite.define.task import Trained

    units = UNITS.of(task)
    if units is None:
        return None
    try:
        trained = Trained(class_counts=tuple(record.class_counts))
        return units(predictions, task.evaluation(protocol), trained).digest
    except Exception:
        return None  # whatever it stumbles over, it is not what our runs store


def key_of(prints: Fingerprint) -> str:
    """Digest of the test set's arrays (of all, where there is no such set)."""
    test = {name: value for name, value in prints.items() if name.startswith("test/")}
    return hashlib.sha256(repr(sorted((test or prints).items())).encode()).hexdigest()


def is_final(row: MetricRow, key: str) -> bool:
    return row.key == key and row.class_ is None and row.step is None
