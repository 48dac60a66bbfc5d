"""What two runs have left, held against each other byte by byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from suite.base.bounded import read_arrays
from suite.base.canonical import canonical
from suite.define.metrics import MetricRow
from suite.records.attempt import Attempt
from suite.records.files import Evaluation, read

MAX_NAMED = 3
"""Differences of one run that are named; of the others, the number."""


@dataclass(frozen=True)
class Piece:
    """An array, a tensor or a score: the type as its file names it, the shape, and the content in C order (of
    a score its value as JSON)."""

    kind: Literal["array", "tensor", "score"]
    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class RunContents:
    """What a finished run has left.

    Attributes:
        pieces: name (`test/logits`, `weight head.bias`) -> piece, of predictions, weights and rows made in training.
        scores: task -> hash of its evaluation, and name -> metric row.
        infers: whether scores go through the method's own `infer`.
    """

    pieces: Mapping[str, Piece]
    scores: Mapping[str, tuple[str, Mapping[str, Piece]]]
    infers: bool


def contents_of(attempt: Attempt) -> RunContents:
    """Raises RecordError for a file that is missing or damaged."""
    record = attempt.record()
    pieces = dict(_arrays(attempt.path / "predictions.npz"))
    pieces |= _tensors(attempt.weights)
    pieces |= _rows(record.rows, "in training")
    scores = {}
    for path in sorted((attempt.path / "evaluations").glob("*.json")):
        evaluation = read(Evaluation, path)
        rows = _rows(evaluation.metrics, evaluation.task)
        scores[evaluation.task] = evaluation.evaluation_hash, rows
    return RunContents(pieces, scores, record.infers)


def _arrays(path: Path) -> Iterator[tuple[str, Piece]]:
    for name, arrays in read_arrays(path).items():
        for key, array in arrays.items():
            yield f"{name}/{key}", Piece("array", array.dtype.str, array.shape, array.tobytes())


def _tensors(path: Path) -> dict[str, Piece]:
    from safetensors import SafetensorError, deserialize

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}  # of this protocol none are kept
    try:
        found = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError:
        # a task may keep something else: as it is
        return {"weights": Piece("tensor", "U8", (len(content),), content)}
    return {
        f"weight {name}": Piece("tensor", one["dtype"], tuple(one["shape"]), bytes(one["data"]))
        for name, one in found
    }


def _rows(rows: Iterable[MetricRow], of: str) -> dict[str, Piece]:
    found = {}
    for row in rows:
        name = f"{of} {row.key}"
        name += f" class {row.class_}" if row.class_ is not None else ""
        name += f", step {row.step}" if row.step is not None else ""
        found[name] = Piece("score", row.source, (), canonical(row.value))
    return found


def differences(before: RunContents, after: RunContents) -> list[str]:
    """In words what is not the same byte for byte; empty where nothing is.

    Scores are compared under tasks that both were evaluated under, by the same evaluation: others say
    nothing of the method, but for one that adapts scores itself, whose code shows in no other place.
    """
    tasks = _comparable(before, after)
    found = _different(before.pieces, after.pieces)
    for task in tasks:
        found += _different(before.scores[task][1], after.scores[task][1])
    if (before.infers or after.infers) and not tasks:
        found.append(
            "adapts scores, and no evaluation is the same as then, so none can be compared"
        )
    return found


def _comparable(before: RunContents, after: RunContents) -> list[str]:
    both = sorted({*before.scores} & {*after.scores})
    return [task for task in both if before.scores[task][0] == after.scores[task][0]]


def _different(before: Mapping[str, Piece], after: Mapping[str, Piece]) -> list[str]:
    found = [f"{name}: only with the earlier code" for name in before if name not in after]
    found += [f"{name}: only with today's code" for name in after if name not in before]
    for name, one in before.items():
        other = after.get(name)
        if other is not None and one != other:
            found.append(f"{name}: {_difference(one, other)}")
    return found


def _difference(before: Piece, after: Piece) -> str:
    """In what two pieces differ: their form, or the first element that does and how many do."""
    if before.kind == after.kind == "score":
        return f"{before.data.decode()} then, {after.data.decode()} today"
    if (before.dtype, before.shape) != (after.dtype, after.shape):
        return f"{_form(before)} then, {_form(after)} today"
    import numpy as np

    count = int(np.prod(before.shape))
    one, other = (
        np.frombuffer(piece.data, np.uint8).reshape(count, -1) for piece in (before, after)
    )
    odd = np.flatnonzero((one != other).any(axis=1))
    place = tuple(int(i) for i in np.unravel_index(odd[0], before.shape)) if before.shape else ()
    values = (_element(piece, odd[0]) for piece in (before, after))
    text = f"{len(odd):,} of {count:,} differ, the first at {list(place)}"
    return text + ": {} then, {} today".format(*values)


def _form(piece: Piece) -> str:
    return f"{piece.dtype} {list(piece.shape)}"


_NUMPY = {
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    **{f"I{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    "BOOL": "?",
}
"""Types as safetensors names them; those that numpy has not are shown as their bytes."""


def _element(piece: Piece, place: Any) -> str:
    import numpy as np

    size = len(piece.data) // int(np.prod(piece.shape))
    content = piece.data[place * size : (place + 1) * size]
    try:
        kind = np.dtype(_NUMPY.get(piece.dtype, piece.dtype))
    except TypeError:
        return content.hex()
    return repr(np.frombuffer(content, kind)[0].item())


def evidence(runs: Mapping[str, tuple[RunContents, RunContents]]) -> str:
    """SHA-256 over all that was compared, and is equal: name, form and content of every piece of every run
    (run id -> what both codes have left of it)."""
    said = []
    for run_id, (before, after) in sorted(runs.items()):
        pieces = dict(before.pieces)
        for task in _comparable(before, after):
            pieces |= before.scores[task][1]
        for name, piece in sorted(pieces.items()):
            digest = hashlib.sha256(piece.data).hexdigest()
            said.append([run_id, name, piece.dtype, list(piece.shape), digest])
    return hashlib.sha256(canonical(said)).hexdigest()


def counted(runs: Iterable[tuple[RunContents, RunContents]]) -> str:
    """How much was compared, in words."""
    kinds: Counter[str] = Counter()
    for before, after in runs:
        kinds.update(piece.kind for piece in before.pieces.values())
        for task in _comparable(before, after):
            kinds["score"] += len(before.scores[task][1])
    return f"{kinds['array']} arrays, {kinds['tensor']:,} tensors, {kinds['score']:,} scores"
