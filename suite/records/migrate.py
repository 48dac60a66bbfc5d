"""Older files of a run, brought to today's form while they are read. Nothing on disk is rewritten.

record.json, status.json and evaluation files say in `schema` by which version they were written; a
spec.json says it from version 2 on. Raising `suite.records.files.SCHEMA` from n to n + 1 goes with one line
here, which says what has become of each kind of file:

    def _status_1(status):
        status["elapsed"] = status.pop("seconds")
        return status

    register(1, Status=_status_1)

A kind that is not named there has not changed. The spec inside a record changes with `RunSpec`. A run's
folder is named by its spec's identity, so a change to `RunSpec` must leave `run_id` as it is: a spec that
comes out as another run's is refused like one that was copied to the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Change = Callable[[dict[str, Any]], dict[str, Any]]
"""Decoded JSON of one version to that of the next: depends on its argument alone, which is its own to
change. It may raise anything for a file that is not what its version says."""

FIRST = 1
"""What a file was written by that does not say it."""

KINDS = frozenset({"RunSpec", "Status", "Record", "Evaluation"})

_steps: dict[int, dict[str, Change]] = {}


class NotReadable(ValueError):
    """No way leads from the file's version to today's, or it is not what its version says."""


def register(schema: int, **changes: Change) -> None:
    """Say how files of version `schema` become those of the next: kind -> change.

    Raises ValueError for a version that has been registered, or a kind that is none of `KINDS`.
    """
    if schema in _steps:
        raise ValueError(f"schema {schema} is registered already")
    if unknown := set(changes) - KINDS:
        raise ValueError(f"no such kind of file: {', '.join(sorted(unknown))}")
    _steps[schema] = changes


def version(value: Any) -> int:
    """The version that decoded JSON says it was written by. Raises NotReadable if it says nonsense."""
    if not isinstance(value, dict):
        raise NotReadable("no JSON object")
    schema = value.get("schema", FIRST)
    # True == 1, and 1.0 too
    if type(schema) is not int:
        raise NotReadable(f"schema {schema!r:.40} is not supported")
    return schema


def migrate(kind: str, value: Any, target: int) -> dict[str, Any]:
    """Decoded JSON of a `kind` of file, of any version, in the form of version `target`.

    It is not yet validated. Raises NotReadable: newer than `target`, too old, or not what it says it is.
    """
    schema = version(value)
    if schema > target:
        raise NotReadable(
            f"schema {schema} is newer than this suite's {target}; update longtail-suite"
        )
    for step in range(schema, target):
        if step not in _steps:
            raise NotReadable(f"schema {schema} is not supported")
        try:
            value = _step(kind, step, value)
        except Exception as error:  # a stranger's file: whatever its change stumbles over
            words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise NotReadable(f"not what a file of schema {schema} is ({words})") from None
    return {**value, "schema": target}


def _step(kind: str, schema: int, value: dict[str, Any]) -> dict[str, Any]:
    change = _steps[schema].get(kind)
    if change is not None:
        value = change(value)
    if kind == "Record":
        value = {**value, "spec": _step("RunSpec", schema, value["spec"])}
    # a change that forgets to return it is the author's mistake; found by its first test
    if not isinstance(value, dict):
        raise TypeError(f"the change of {kind} gave {type(value).__name__}")
    return value
