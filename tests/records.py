"""Records of runs that never ran: three lines make a board.

board = Records(tmp_path)
for seed in range(3):
    board.run("ce", seed=seed, mIoU=0.30 + 0.01 * seed)
board.ingest()
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from suite.define.digest import Code
from suite.define.metrics import MetricRow
from suite.define.protocol import Budget, DataSet, Protocol
from suite.define.spec import RunSpec
from suite.define.task import Metric, Task
from suite.records.attempt import Attempt
from suite.records.files import Cost, Evaluation, Failure, FailureKind, Record, Status
from suite.records.states import AttemptState
from suite.store.ingest import IngestReport, ingest

TODAY = "d1"


def _nothing(*_: Any) -> Any:
    raise AssertionError("tests of records train and evaluate nothing")


def protocol(name: str = "toy:quick", **changes: Any) -> Protocol:
    """A protocol; `changes` to identity fields give it another hash."""
    dataset = DataSet(
        name="toy",
        summary="",
        layout="",
        classes=("road", "sky", "sign"),
        groups={"head": (0, 1), "tail": (2,)},
        group_rule="tail: the last third",
        find=_nothing,
        check=_nothing,
    )
    fields: dict[str, Any] = {
        "name": name,
        "dataset": dataset,
        "split": "toy@1",
        "test": "whole",
        "backbone": "tiny",
        "budget": Budget(iterations=10, batch=2),
        "augmentation": "none",
        "recipe": "sgd",
        "summary": "",
        "build": _nothing,
        "train": _nothing,
    }
    return Protocol(**{**fields, **changes})


TASK = Task(
    name="toy-task",
    question="which?",
    protocols=(protocol(), protocol("toy:full", budget=Budget(iterations=90, batch=2))),
    default_protocol="toy:quick",
    metrics=(
        Metric(name="mIoU"),
        Metric(name="loss", higher_is_better=False, unit="nats"),
        Metric(name="IoU"),
        Metric(name="extra"),
    ),
    primary=("mIoU",),
    columns=("mIoU", "mIoU[group=tail]", "loss"),
    version=1,
    settings=lambda protocol: {"groups": protocol.dataset.group_rule},
    evaluate=_nothing,
)
HOSTILE = [
    "'; DROP TABLE facts; --",
    "\"; ATTACH '/etc/passwd' AS x; --",
    "[bold red]markup[/]",
    "\x1b[2J\x00\r\n\t",
    "{stale_seconds}",
    "naïve ‮ 🜁",
    "$task",
    "",
]
"""Names a stranger's record may bring."""

EVALUATION = TASK.evaluation_hash(TASK.protocols[0])


class Records:
    """Writes runs of `TASK` below a root, and ingests them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def spec(
        self,
        method: str = "ce",
        seed: int = 0,
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        under: Protocol = TASK.protocols[0],
    ) -> RunSpec:
        return RunSpec(
            protocol=under.name,
            protocol_hash=under.hash,
            method=method,
            seed=seed,
            params=dict(params or {}),
            inputs=dict(inputs or {}),
        )

    def unfinished(
        self,
        method: str = "ce",
        *,
        state: AttemptState = "running",
        failure: FailureKind | None = None,
        message: str = "it broke",
        beat: float = 0.0,
        digest: str = TODAY,
        attempt: int = 1,
        **spec: Any,
    ) -> Attempt:
        """An attempt without a record, last heard of `beat` seconds ago."""
        wanted = self.spec(method, **spec)
        folder = Attempt(self.root, wanted.run_id, attempt)
        folder.create(wanted)
        now = time.time()
        folder.write_status(
            Status(
                state="failed" if failure else state,
                digest=digest,
                started=now - 100,
                heartbeat=now - beat,
                step=7,
                failure=Failure(kind=failure, message=message, step=7) if failure else None,
            )
        )
        return folder

    def run(
        self,
        method: str = "ce",
        *,
        attempt: int = 1,
        digest: str = TODAY,
        flags: tuple[str, ...] = (),
        rows: list[MetricRow] | None = None,
        evaluation_hash: str = EVALUATION,
        evaluated: bool = True,
        seed: int = 0,
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        under: Protocol = TASK.protocols[0],
        **values: float | None,
    ) -> Attempt:
        """A finished attempt with an evaluation: `mIoU=0.3`, and `tail` for `mIoU[group=tail]`."""
        spec = self.spec(method, seed, params, inputs, under)
        folder = Attempt(self.root, spec.run_id, attempt)
        folder.path.mkdir(parents=True)
        folder.write_record(
            Record(
                run_id=spec.run_id,
                attempt=attempt,
                spec=spec,
                digest=digest,
                dataset="toy",
                flags=list(flags),
                cost=Cost(parameters=1000, wall_seconds=60.0 + seed, train_seconds=50.0),
                finished=1000.0 + attempt,
            )
        )
        if evaluated:
            tail = values.pop("tail", None)
            metrics = rows or [MetricRow(metric=k, value=v) for k, v in values.items()]
            if tail is not None:
                metrics.append(MetricRow(metric="mIoU", subset="group=tail", value=tail))
            folder.write_evaluation(
                Evaluation(
                    run_id=spec.run_id,
                    attempt=attempt,
                    task=TASK.name,
                    evaluation_hash=evaluation_hash,
                    metrics=metrics,
                    made=1000.0,
                )
            )
        return folder

    def seeds(self, method: str, values: list[float], **more: Any) -> list[Attempt]:
        """One run per value, seeds 0, 1, ..."""
        return [self.run(method, seed=s, mIoU=value, **more) for s, value in enumerate(values)]

    def ingest(self, today: Mapping[str, str] | None = None, rebuild: bool = False) -> IngestReport:
        return ingest(self.root, {TASK.name: TASK}, Code(today or {}), rebuild=rebuild)


def edit(path: Path, **changes: Any) -> None:
    """Rewrite fields of a JSON file in place."""
    content = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**content, **changes}))


CLASSES = ("road", "sky", "sign")
SCORED = replace(TASK, metrics=(Metric(name="mIoU"), Metric(name="recall")))
"""The task, with recalls by class."""


def rows_of(values, subset="", classes=CLASSES):
    return [
        MetricRow(metric="recall", subset=subset, class_=name, value=value)
        for name, value in zip(classes, values, strict=True)
    ]


def scored(records, method, values, *, classes=CLASSES, unadapted=None, **more):
    """A run with recalls by class."""
    rows = [*rows_of(values, classes=classes), MetricRow(metric="mIoU", value=0.5)]
    rows.append(MetricRow(metric="recall", class_="road", step=5, value=0.0))
    rows += rows_of([0.0] * len(classes), "split=val", classes)
    if unadapted is not None:
        rows += rows_of(unadapted, "scores=unadapted", classes)
    attempt = records.run(method, rows=rows, **more)
    edit(attempt.path / "record.json", class_counts=[7, 700, 70], classes=list(CLASSES))
    return attempt
