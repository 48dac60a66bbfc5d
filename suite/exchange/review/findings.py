"""What a review says: findings of the folder, and of every run in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from suite.define import variants
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.records.attempt import Attempt
from suite.records.files import Record
from suite.records.fingerprint import Fingerprint

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """Result of one check. `ok`: in order; `note`: to be known; `problem`: stands against acceptance."""

    check: str
    level: Level
    text: str = ""


@dataclass
class ExaminedRun:
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
    runs: list[ExaminedRun] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    comparison: list[str] = field(default_factory=list)

    @property
    def acceptable(self) -> bool:
        """Whether nothing is wrong: one bad run and the whole folder is not."""
        bad = any(finding.level == "problem" for finding in self.findings)
        return bool(self.runs) and not bad and all(run.state != "refused" for run in self.runs)

    @property
    def new(self) -> list[ExaminedRun]:
        return [run for run in self.runs if run.state == "new"]

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
                    "run": run.run_id,
                    "attempt": run.number,
                    "method": run.method,
                    "protocol": run.record.spec.protocol if run.record else "",
                    "seed": run.record.spec.seed if run.record else None,
                    "state": run.state,
                    "findings": listed(run.findings),
                }
                for run in self.runs
            ],
        }


def shortened(error: object, folder: Path) -> str:
    """A message without the folder that every one of them would repeat."""
    return " ".join(str(error).replace(f"{folder}/", "").split())[:400]
