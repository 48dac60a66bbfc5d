"""A run's record by itself: readable, within reason, and where it says that it lies."""

from __future__ import annotations

import hashlib
import math
import re
import time
from pathlib import Path
from typing import Any

import msgspec

from suite.base.bounded import MAX_JSON, read_file
from suite.base.canonical import canonical
from suite.base.errors import RecordError
from suite.define.spec import RunSpec
from suite.exchange.attempt_files import read_attempt
from suite.exchange.review.findings import ExaminedRun, shortened
from suite.records.files import RUN_ID, Evaluation, Record, decode

_MAX_TEXT = 2000
_MAX_NAME = 200
_MAX_DEPTH = 12
_MAX_ITEMS = 1_000_000
_FLAG = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
_DAY = 86400.0


def read_record(run: ExaminedRun) -> None:
    """Record and identity: what it says about itself agrees with where it lies."""
    try:
        files = read_attempt(run.folder)
        record = files.record
        problems = list(files.problems)
        values: list[Record | Evaluation] = [record, *files.evaluations]
        for value in values:
            problem = _unreasonable(value)
            if problem:
                raise RecordError(problem)
    except (RecordError, FileNotFoundError) as error:
        run.say("schema", "problem", shortened(error, run.folder))
        return
    run.run_id, run.number = run.run_id or record.run_id, run.number or record.attempt
    if not RUN_ID.fullmatch(run.run_id):
        run.say("schema", "problem", "says a run id that is none")
        run.run_id = ""
        return
    if (record.run_id, record.attempt) != (run.run_id, run.number):
        problems.append(
            f"says run {record.run_id[:40]}, attempt {record.attempt}; lies in the folder of run "
            f"{run.run_id}, attempt {run.number}"
        )
    try:
        spec = decode(RunSpec, read_file(run.folder / "spec.json", MAX_JSON), Path("spec.json"))
        if canonical(spec) != canonical(record.spec):
            problems.append("spec.json is not the record's spec")
    except FileNotFoundError:
        pass
    except (RecordError, ValueError, RecursionError) as error:
        problems.append(shortened(error, run.folder))
    run.judge("schema", problems)
    if not problems:
        run.record = record
        content = read_file(run.folder / "record.json", MAX_JSON)
        run.sha = {"record.json": hashlib.sha256(content).hexdigest()}


def oddities(record: Record) -> list[str]:
    """What no record of ours holds, though it breaks no rule of the schema."""
    odd = []
    if record.finished > time.time() + _DAY:
        odd.append("finished in the future")
    if any(not _FLAG.fullmatch(flag) for flag in record.flags):
        odd.append("a flag is no word in small letters")
    seed = record.environment.get("seed", record.spec.seed)
    if seed != record.spec.seed:
        odd.append("its environment tells of another seed than its spec")
    return odd


def _unreasonable(value: Record | Evaluation) -> str | None:
    """Why a decoded file is too deep, too long or out of range. msgspec has checked types only."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    items = 0
    while waiting:
        item, depth = waiting.pop()
        items += 1
        if depth > _MAX_DEPTH:
            return f"nested deeper than {_MAX_DEPTH}"
        if items > _MAX_ITEMS:
            return f"more than {_MAX_ITEMS:,} values"
        if isinstance(item, str):
            if len(item) > _MAX_TEXT:
                return f"a text of {len(item):,} characters"
        elif isinstance(item, bool) or item is None:
            continue
        elif isinstance(item, int):
            if not -(1 << 63) <= item < 1 << 63:
                return "a number is out of the 64-bit range"
        elif isinstance(item, float):
            if not math.isfinite(item):
                return f"holds {item}"
        elif isinstance(item, msgspec.Struct):
            waiting += [(getattr(item, name), depth + 1) for name in item.__struct_fields__]
        elif isinstance(item, dict):
            waiting += [(key, depth + 1) for key in item]
            waiting += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list | tuple):
            waiting += [(inner, depth + 1) for inner in item]
    spec = getattr(value, "spec", None)
    names = [spec.method, spec.protocol, spec.protocol_hash] if spec else []
    if any(len(name) > _MAX_NAME for name in names):
        return "a name is too long"
    return None
