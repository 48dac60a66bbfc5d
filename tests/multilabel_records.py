"""Runs of a task of several labels that never ran: scores by label, and predictions that know a little.

    board = LabelRecords(tmp_path)
    for seed in range(3):
        board.run("bce", seed=seed, knows=2.0)
    board.ingest()
    open_page(board.root, "labels", catalog=catalog())

Scores are those that the stored predictions have, but for what a test gives.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import records
import strangers
from records import Records

from suite.define.catalog import Catalog
from suite.define.digest import Code
from suite.define.metrics import MetricRow
from suite.define.protocol import DataSet, Protocol
from suite.define.task import Metric, Task
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record, Status
from suite.runs.evaluate import evaluate_attempt
from suite.store.ingest import ingest
from tasks.multilabel import measures
from tasks.multilabel.measures import ranks
from tasks.multilabel.stored import store

K = 3
SAMPLES = 30
LABELS = tuple(f"label{c:02}" for c in range(12))
COUNTS = (512, 300, 200, 130, 90, 60, 33, 20, 9, 5, 2, 0)
"""Training positives; the last two labels have no positive test sample."""
SEEN = 10


def data(labels: tuple[str, ...] = LABELS) -> DataSet:
    return DataSet(
        name="scenes",
        summary="",
        layout="",
        classes=labels,
        groups={"head": (0, 1, 2, 3), "medium": (4, 5, 6, 7), "tail": tuple(range(8, len(labels)))},
        group_rule="training positives: head > 99, medium 20-99, tail < 20",
        find=records._nothing,
        check=records._nothing,
    )


def protocol(name: str = "scenes:mlp", labels: tuple[str, ...] = LABELS) -> Protocol:
    sets = {"test": "whole"}
    return records.protocol(name, dataset=data(labels), split=f"{name}@1", prediction_sets=sets)


PROTOCOL = protocol()


def task(*protocols: Protocol, **changes: Any) -> Task:
    """A task that scores rankings of labels, named as that of `records` is."""
    fields: dict[str, Any] = {
        "protocols": protocols or (PROTOCOL,),
        "default_protocol": (protocols or (PROTOCOL,))[0].name,
        "metrics": (
            Metric(name="tkpr"),
            Metric(name="map_at_k"),
            Metric(name="ndcg"),
            Metric(name="ranking_loss", higher_is_better=False),
            Metric(name="coverage", higher_is_better=False, unit="labels"),
            Metric(name="mAP"),
            Metric(name="ap"),
            Metric(name="instances_without_label", unit="samples"),
        ),
        "primary": ("tkpr[k=K]", "map_at_k[k=K]"),
        "columns": ("ranking_loss", "mAP", "ap[group=tail]"),
        "reference": "bce",
        "settings": lambda protocol: {"k": K, "classes": list(protocol.dataset.classes)},
    }
    return replace(records.TASK, **{**fields, **changes})


TASK = task()


def catalog(*tasks: Task) -> Catalog:
    found = Catalog({one.name: one for one in tasks or (TASK,)}, {})
    found.methods = lambda task=None: []  # type: ignore[method-assign]
    return found


def arrays(
    seed: int, knows: float, samples: int = SAMPLES, labels: int = len(LABELS)
) -> tuple[Any, Any]:
    """(logits, labels) of the test set; the better, the more a model `knows`. Sample 4 shows no label."""
    drawn = np.random.default_rng(1200).random((samples, labels))
    shows = drawn < np.linspace(0.5, 0.1, labels)
    shows[:, SEEN : len(LABELS)] = False
    shows[:, 0] |= ~shows.any(axis=1)
    shows[4] = False
    noise = np.random.default_rng(seed).normal(size=(samples, labels))
    return (noise + knows * shows).astype(np.float32), shows


class LabelRecords(Records):
    """Writes runs of `TASK` below a root, and ingests them."""

    def __init__(self, root: Path, of: Task = TASK) -> None:
        super().__init__(root)
        self.task = of

    def labelled(
        self,
        method: str = "bce",
        *,
        knows: float = 2.0,
        seed: int = 0,
        predictions: Mapping[str, Any] | None = None,
        kept: bool = True,
        values: Mapping[str, float | None] = MappingProxyType({}),
        ap: Mapping[int, float | None] = MappingProxyType({}),
        under: Protocol | None = None,
        counts: tuple[int, ...] | None = None,
        **more: Any,
    ) -> Attempt:
        """A finished run. `values`: metric key -> value, `ap`: label -> AP, instead of what the predictions say;
        `predictions`: the arrays of the set `test`; not `kept`: they are gone."""
        under = under or self.task.protocols[0]
        names = under.dataset.classes
        logits, shows = arrays(seed + 100 * len(method), knows, labels=len(names))
        found = ranks(logits, shows)
        at_k = {
            "tkpr": measures.tkpr,
            "map_at_k": measures.average_precision,
            "ndcg": measures.ndcg,
        }
        scores: dict[str, float | None] = {
            f"{name}[k={name_of}]": float(np.nanmean(of(found, k)))
            for name, of in at_k.items()
            for name_of, k in (("K", K), ("1", 1))
        }
        scores |= {
            "ranking_loss": float(np.nanmean(measures.ranking_loss(found))),
            "coverage": float(np.nanmean(measures.coverage(found))),
            "instances_without_label": 1.0,
        }
        by_label: dict[int, float | None] = {
            c: None
            if SEEN <= c < len(LABELS)
            else min(1.0, 0.1 * knows + 0.5 / (1 + c) + 0.01 * seed)
            for c in range(len(names))
        }
        by_label |= ap
        known = [value for value in by_label.values() if value is not None]
        scores["mAP"] = sum(known) / len(known) if known else None
        scores["ap[group=tail]"] = by_label[8]
        scores |= values
        rows = [
            MetricRow(
                metric=key.partition("[")[0], subset=key.partition("[")[2].rstrip("]"), value=value
            )
            for key, value in scores.items()
        ]
        rows += [
            MetricRow(metric="ap", class_=name, value=by_label[c]) for c, name in enumerate(names)
        ]
        attempt = self.run(
            method,
            seed=seed,
            rows=rows,
            under=under,
            evaluation_hash=self.task.evaluation_hash(under),
            **more,
        )
        records.edit(
            attempt.path / "record.json",
            class_counts=list(counts if counts is not None else (COUNTS * 40)[: len(names)]),
            classes=list(names),
            dataset=under.dataset.name,
        )
        if kept:
            attempt.write_predictions({"test": predictions or store(logits, shows)})
        return attempt

    def ingest(self, today: Any = None, rebuild: bool = False) -> Any:
        return ingest(self.root, {self.task.name: self.task}, Code(today or {}), rebuild=rebuild)


def finished(root: Path, method: str, seed: int, knows: float = 2.0) -> Attempt:
    """A finished run of the installed task under its `quick`, which never ran, with predictions and scores."""
    found = strangers.catalog()
    of = found.task("multilabel")
    under = found.protocol(of, "quick")
    assert under.budget is not None
    spec = found.spec(method, under, seed)
    names = under.dataset.classes
    attempt = Attempt(root, spec.run_id, 1)
    attempt.create(spec)
    attempt.write_predictions({"test": store(*arrays(seed, knows, labels=len(names)))})
    digest = found.digest(spec)
    attempt.write_record(
        Record(
            run_id=spec.run_id,
            attempt=1,
            spec=spec,
            digest=digest,
            files=found.method(spec).files,
            dataset=under.dataset.name,
            class_counts=[400 // (1 + c) for c in range(len(names))],
            classes=list(names),
            cost=Cost(parameters=1000, iterations=under.budget.iterations, wall_seconds=2.0),
            finished=1000.0 + seed,
        )
    )
    evaluate_attempt(attempt, of, under, found)
    attempt.write_status(
        Status(state="done", digest=digest, started=1.0, heartbeat=2.0), durable=False
    )
    return attempt
