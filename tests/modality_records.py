"""Runs of a task of several modalities that never ran: scores that follow from their stored arrays, and curves.

board = ModalityRecords(tmp_path)
for seed in range(3):
    board.finished("concat", seed, clear=2.0, noisy=0.5)
board.ingest()
open_page(board.root, "modalities", catalog=catalog())

How much each modality knows is what a run is told; of what it is not told it knows nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import records
import strangers
from multilabel_records import catalog as _catalog
from records import Records

from suite.define.digest import Code
from suite.define.protocol import DataSet, Protocol
from suite.define.task import Task, Trained
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record, Status
from suite.runs.evaluate import evaluate_attempt
from suite.store.ingest import ingest
from tasks.multimodal.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    VERSION,
    evaluate,
    settings,
)
from tasks.multimodal.stored import store
from tasks.vision.groups import group_rule, groups

CLASSES = ("bird", "cat", "dog", "owl")
COUNTS = (100, 40, 10, 4)
SAMPLES = 40
"""Of each set, as many of every class."""
LENGTH = 200
"""Iterations."""
WIDTH = 6
LABEL = np.arange(SAMPLES, dtype=np.int64) % len(CLASSES)


def data(classes: Sequence[str] = CLASSES, *, grouped: bool = False) -> DataSet:
    return DataSet(
        name="pairs",
        summary="",
        layout="",
        classes=tuple(classes),
        groups=groups(COUNTS, 50, 20) if grouped else {},
        group_rule=group_rule(50, 20, "samples") if grouped else "",
        find=records._nothing,
        check=records._nothing,
    )


def protocol(
    name: str = "pairs", modalities: Sequence[str] = ("clear", "noisy"), **changes: Any
) -> Protocol:
    fields: dict[str, Any] = {
        "dataset": data(),
        "split": f"{name}@1",
        "blank": {"model": {"encoders": {one: {} for one in modalities}}},
        "prediction_sets": {"test": "", "train": ""},
    }
    return records.protocol(name, **{**fields, **changes})


PAIRS = protocol()
LONG_TAILED = protocol("pairs:ir10", dataset=data(grouped=True))
SIX = ("audio", "depth", "flow", "rgb", "text", "infraredspectrumofthescene")
SENSORS = protocol("sensors", SIX)


def task(*protocols: Protocol, **changes: Any) -> Task:
    """The task's own scores, under other protocols; named as that of `records` is."""
    found = protocols or (PAIRS, LONG_TAILED, SENSORS)
    fields: dict[str, Any] = {
        "protocols": found,
        "default_protocol": found[0].name,
        "metrics": METRICS,
        "primary": PRIMARY,
        "columns": COLUMNS,
        "version": VERSION,
        "reference": "concat",
        "settings": settings,
        "evaluate": evaluate,
        "offers": OFFERS,
    }
    return replace(records.TASK, **{**fields, **changes})


TASK = task()


def catalog(*tasks: Task) -> Any:
    return _catalog(*(tasks or (TASK,)))


def arrays(
    seed: int,
    knows: Mapping[str, float],
    *,
    fusion: str = "sum",
    classes: int = len(CLASSES),
    label: np.ndarray = LABEL,
) -> dict[str, dict[str, np.ndarray]]:
    """Stored sets `test` and `train`; `knows`: of every modality, in the protocol's order.

    Fused logits are the sum of the modalities' own. `fusion`: `sum`; `film`, which has no logits of single modalities and
    takes no missing ones; `masked`, which has none of single ones but takes missing ones.
    """
    names, width = list(knows), max(WIDTH, classes)
    sets = {}
    for number, name in enumerate(("test", "train")):
        drawn = np.random.default_rng([seed, number])
        truth = np.eye(classes)[label]
        own = np.stack(
            [drawn.normal(size=truth.shape) + knows[one] * truth for one in names], axis=1
        )
        seen = np.eye(classes, width)[label]
        features = {
            one: drawn.normal(size=(len(label), width)) + knows[one] * seen for one in names
        }
        masks = [
            [k for k in range(len(names)) if mask >> k & 1]
            for mask in range(1, 2 ** len(names) - 1)
        ]
        subsets = np.stack([own[:, mask].sum(1) for mask in masks], axis=1) if masks else None
        scores: dict[str, Any] = {"logits": own.sum(1)}
        if fusion == "sum" and len(names) > 1:
            scores["modality_logits"] = own
        if fusion != "film":
            scores["subset_logits"] = subsets
        sets[name] = store(label, features, classes, **(scores if name == "test" else {}))
    return sets


def curves(
    seed: int, knows: Mapping[str, float], *, own: bool = True, length: int = LENGTH
) -> dict[str, list[tuple[int, float | None]]]:
    """Accuracies of training batches, which rise to what modalities know, and a loss."""
    drawn = np.random.default_rng([seed, 7])
    steps = range(1, length + 1, max(1, length // 200))

    def rising(strength: float) -> list[tuple[int, float | None]]:
        top, slow = 1 - 0.75 * np.exp(-strength / 2), 0.1 + 0.1 / (0.3 + strength)
        return [
            (
                step,
                float(
                    np.clip(top * (1 - np.exp(-step / length / slow)) + drawn.normal() / 25, 0, 1)
                ),
            )
            for step in steps
        ]

    made = {"top1": rising(sum(knows.values())), "loss": [(step, 1.0) for step in steps]}
    if own:
        made |= {f"top1_{name}": rising(value) for name, value in knows.items()}
    return made


class ModalityRecords(Records):
    """Writes runs of `TASK` below a root, and ingests them."""

    def __init__(self, root: Path, of: Task = TASK) -> None:
        super().__init__(root)
        self.task = of

    def finished(
        self,
        method: str = "concat",
        seed: int = 0,
        *,
        under: Protocol | None = None,
        fusion: str = "sum",
        sets: Mapping[str, Any] | None = None,
        drawn: Mapping[str, list[tuple[int, float | None]]] | None = None,
        kept: bool = True,
        params: Mapping[str, Any] | None = None,
        **knows: float,
    ) -> Attempt:
        """A finished run. `sets`, `drawn`: its arrays and curves, instead of those of what it `knows`; not `kept`: its
        predictions are gone."""
        under = under or self.task.protocols[0]
        assert under.blank is not None
        order = [name for name in under.blank["model"]["encoders"] if name in knows]
        known = {name: knows[name] for name in order}
        classes = len(under.dataset.classes)
        label = np.arange(max(SAMPLES, 2 * classes)) % classes
        made = sets or arrays(
            seed + 100 * len(method), known, fusion=fusion, classes=classes, label=label
        )
        counts = (COUNTS * classes)[:classes]
        about = Trained(class_counts=counts)
        attempt = self.run(
            method,
            seed=seed,
            params=params,
            rows=list(self.task.evaluate(made, self.task.evaluation(under), about)),
            under=under,
            evaluation_hash=self.task.evaluation_hash(under),
        )
        shown = curves(seed, known, own=fusion == "sum") if drawn is None else drawn
        records.edit(
            attempt.path / "record.json",
            class_counts=list(counts),
            classes=list(under.dataset.classes),
            dataset=under.dataset.name,
            curves={name: [list(one) for one in curve] for name, curve in shown.items()},
        )
        if kept:
            attempt.write_predictions(made)
        return attempt

    def ingest(self, today: Any = None, rebuild: bool = False) -> Any:
        return ingest(self.root, {self.task.name: self.task}, Code(today or {}), rebuild=rebuild)


def installed(root: Path, method: str, seed: int, *, fusion: str = "sum", **knows: float) -> None:
    """A finished run of the installed task under its `smoke`, which never ran, with predictions and scores."""
    found = strangers.catalog()
    of = found.task("multimodal")
    under = found.protocol(of, "smoke")
    assert under.budget is not None
    classes = under.dataset.classes
    label = np.arange(10 * len(classes)) % len(classes)
    spec = found.spec(method, under, seed)
    attempt = Attempt(root, spec.run_id, 1)
    attempt.create(spec)
    drawn = seed + 10 * len(method)
    attempt.write_predictions(
        arrays(drawn, knows, fusion=fusion, classes=len(classes), label=label)
    )
    digest = found.digest(spec)
    attempt.write_record(
        Record(
            run_id=spec.run_id,
            attempt=1,
            spec=spec,
            digest=digest,
            files=found.method(spec).files,
            dataset=under.dataset.name,
            class_counts=[65] * len(classes),
            classes=list(classes),
            curves=curves(seed, knows, own=fusion == "sum", length=under.budget.iterations),
            cost=Cost(parameters=1000, iterations=under.budget.iterations, wall_seconds=2.0),
            finished=1000.0 + seed,
        )
    )
    evaluate_attempt(attempt, of, under, found)
    attempt.write_status(
        Status(state="done", digest=digest, started=1.0, heartbeat=2.0), durable=False
    )
