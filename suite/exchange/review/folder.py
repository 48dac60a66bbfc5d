"""The runs in a stranger's folder, after a look at the kind of every file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from suite.exchange.review.findings import ExaminedRun, Finding, Level, Review
from suite.records.files import ATTEMPT, RUN_ID

MAX_ENTRIES = 100_000
"""Files and folders looked at."""
MAX_RUNS = 10_000

_ATTEMPT_FILES = {"record.json", "spec.json", "status.json", "predictions.npz"}
_LEFT_OUT = {"weights.safetensors", "log.txt", "samples", "checkpoint"}
"""Of an attempt's folder, never opened: nothing here needs them, and an image or a log is a stranger's
text on the way to a browser or a terminal; weights would be trained on."""


def find_runs(review: Review) -> list[ExaminedRun]:
    """The newest finished attempt of every run, after a look at every file's kind."""
    folder = review.folder
    walk = _Walk(review)
    runs: list[ExaminedRun] = []
    try:
        if (folder / "record.json").is_symlink() or (folder / "record.json").exists():
            number = int(folder.name) if ATTEMPT.fullmatch(folder.name) else 0
            parent = folder.parent.name
            run_id = parent if RUN_ID.fullmatch(parent) and number else ""
            walk.attempt(folder, ".")
            runs.append(ExaminedRun(folder, run_id, number))
        elif any(ATTEMPT.fullmatch(path.name) for path in folder.iterdir()):
            run_id = folder.name if RUN_ID.fullmatch(folder.name) else ""
            runs += walk.run(folder, run_id, ".")
        else:
            for top in walk.entries(folder, "."):
                if top.name != "runs":
                    continue
                if not top.is_dir(follow_symlinks=False):
                    walk.say("problem", "runs: not a folder")
                    continue
                for entry in walk.entries(Path(top.path), "runs"):
                    if RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                        runs += walk.run(Path(entry.path), entry.name, f"runs/{entry.name}")
                    elif not entry.name.startswith(("cancel-", ".")):
                        walk.say("problem", f"runs/{entry.name}: no run's folder")
                    if len(runs) > MAX_RUNS:
                        walk.say("problem", f"more than {MAX_RUNS:,} runs")
                        raise _TooMany
    except _TooMany:
        pass
    except OSError as error:
        walk.say("problem", f"cannot be read ({error.strerror})")
    if not runs and not review.findings:
        walk.say("problem", "no finished run: a folder with runs/<run id>/<attempt>/ is wanted")
    if not any(finding.level == "problem" for finding in review.findings):
        review.findings.append(Finding("files", "ok"))
    return runs


class _TooMany(Exception):
    pass


class _Walk:
    """Folders looked through without following a link; what is neither file nor folder is a finding."""

    def __init__(self, review: Review) -> None:
        self.review, self.seen = review, 0

    def say(self, level: Level, text: str) -> None:
        if len(self.review.findings) < 100:
            text = os.fsencode(text).decode("utf-8", "backslashreplace")
            self.review.findings.append(Finding("files", level, text))

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

    def run(self, folder: Path, run_id: str, where: str) -> Iterator[ExaminedRun]:
        numbers = []
        for entry in self.entries(folder, where):
            if ATTEMPT.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                if self.attempt(Path(entry.path), f"{where}/{entry.name}"):
                    numbers.append(int(entry.name))
            elif entry.name not in ("lock", "cancel.json") and not entry.name.startswith("."):
                self.say("note", f"{where}/{entry.name}: not looked at")
        if numbers:
            newest = max(numbers)
            yield ExaminedRun(folder / str(newest), run_id, newest)
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
