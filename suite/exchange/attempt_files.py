"""The files of a finished attempt, a stranger's perhaps: read within bounds, no link followed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from suite.base.bounded import MAX_JSON, read_file
from suite.base.errors import RecordError
from suite.records.files import Evaluation, Record, decode


@dataclass
class AttemptFiles:
    """The content of a finished attempt's folder, read within bounds."""

    record: Record
    evaluations: list[Evaluation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_attempt(folder: Path) -> AttemptFiles:
    """Record and evaluations of an attempt. Raises RecordError without a readable record; evaluations that
    cannot be read, or are another's, are among `problems`."""
    try:
        content = read_file(folder / "record.json", MAX_JSON)
    except FileNotFoundError:
        raise RecordError(f"{folder}: no record.json: the run is not finished") from None
    files = AttemptFiles(decode(Record, content, folder / "record.json"))
    record = files.record
    for path in evaluation_files(folder):
        name = f"evaluations/{path.name}"
        try:
            evaluation = decode(Evaluation, read_file(path, MAX_JSON), path)
        except (FileNotFoundError, RecordError) as error:
            # of a message that begins with the path, what follows it
            text = str(error)
            files.problems.append(f"{name}: {text.removeprefix(f'{path}: ')}")
            continue
        if (evaluation.run_id, evaluation.attempt) != (record.run_id, record.attempt):
            files.problems.append(
                f"{name}: says run {evaluation.run_id[:40]}, attempt {evaluation.attempt}"
            )
        elif path.name != f"{evaluation.task}-{evaluation.evaluation_hash}.json":
            files.problems.append(f"{name}: is of another task or evaluation than its name says")
        else:
            files.evaluations.append(evaluation)
    return files


def evaluation_files(folder: Path) -> list[Path]:
    """Evaluation files of an attempt, sorted by name."""
    try:
        names = sorted(os.listdir(folder / "evaluations"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / "evaluations" / name for name in names if not name.startswith(".")]
