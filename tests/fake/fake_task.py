"""A task without torch, for tests of the harness: "training" adds up random numbers.

It is found as a third party's package would be: through entry points of a distribution that lies on
PYTHONPATH. Its result depends on every step's draw, so a resume that is not exact shows.
"""

import json
import os
import random
import time

from suite.base.errors import UserError
from suite.base.files import write_atomic
from suite.define.metrics import MetricRow, subset
from suite.define.protocol import Budget, DataSet, Facts, Protocol
from suite.define.task import Metric, Task
from suite.records.files import Cost
from suite.records.lease import LeaseLost
from suite.runs.job import Job, NonFiniteLoss, Outcome, Stopped

TASKS = {"fake": "fake_task:TASK"}

STEPS = 60
SETTINGS = {"groups": {"head": [0], "tail": [1]}}
DATA = DataSet(
    name="fake-data",
    summary="nothing",
    layout="embedded",
    classes=("a", "b"),
    groups={"head": (0,), "tail": (1,)},
    group_rule="first is head",
    find=lambda cache: cache,
    check=lambda path, deep: [],
    embedded=True,
)
FACTS = Facts(
    classes=DATA.classes,
    class_counts=(90, 10),
    image_counts=(9, 1),
    groups=DATA.groups,
    iterations=STEPS,
    batch=1,
)


def train(job: Job) -> Outcome:
    # not for commands that only look
    import numpy as np

    inputs = {role: attempt.weights for role, attempt in job.inputs.items()}
    behaviour = job.method.configure({}, FACTS, inputs)
    begun = time.monotonic()
    checkpoint = job.attempt.checkpoint_dir / "state.json"
    generator = random.Random(job.spec.seed)
    step, total = 0, float(behaviour["start"])
    if checkpoint.exists():
        state = json.loads(checkpoint.read_text())
        step, total = state["step"], state["total"]
        version, internal, gauss = state["rng"]
        generator.setstate((version, tuple(internal), gauss))
    saved = time.monotonic()

    def save() -> None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {"step": step, "total": total, "rng": generator.getstate()}
        write_atomic(checkpoint, json.dumps(state).encode())

    while step < STEPS:
        total += generator.random()
        step += 1
        time.sleep(behaviour["sleep"])
        if step == behaviour["at"]:
            _misbehave(behaviour["what"], step, job)
        if time.monotonic() - saved >= job.checkpoint_seconds:
            save()
            saved = time.monotonic()
        try:
            job.beat(step, STEPS)
            if job.stopping():
                raise Stopped
        except LeaseLost:
            raise
        except BaseException:
            save()
            raise
    score = total / (2 * STEPS)
    return Outcome(
        facts=FACTS,
        cost=Cost(parameters=1, iterations=STEPS, train_seconds=time.monotonic() - begun),
        predictions={"test": {"score": np.array([score])}},
        curves={"total": [(STEPS, total)]},
        save_weights=lambda path: path.write_text(repr(score)),
        environment={"visible": os.environ.get("CUDA_VISIBLE_DEVICES", "")},
    )


def _misbehave(what: str, step: int, job: Job) -> None:
    if what == "nan":
        raise NonFiniteLoss(step)
    if what == "oom":
        raise MemoryError("out of memory")
    if what == "code":
        raise TypeError("no such thing")
    if what == "die":
        os._exit(137)
    if what == "die-once" and job.status.restarts == 0:
        os._exit(137)
    if what == "hang":
        time.sleep(600)
    if what == "memory":
        block = bytearray(600 << 20)
        time.sleep(6)
        del block
    if what == "full":
        raise OSError(28, "No space left on device")


def evaluate(predictions, settings, trained):
    score = float(predictions["test"]["score"][0])
    if "priors" in settings:
        # both classes' scores, weighted
        return [
            MetricRow(metric="score", subset=subset(prior=name), value=a * score + b * score / 2)
            for name, (a, b) in settings["priors"].items()
        ]
    return [
        MetricRow(metric="score", value=score),
        MetricRow(metric="score", subset=subset(group="tail"), value=score / 2),
    ]


def shifted(protocol, asked):
    """Priors of two classes, a share a line; of Dirichlet, the first class's mean share is drawn."""
    priors = {}
    for name, path in asked.priors.items():
        try:
            a, b = map(float, path.read_text().split())
        except ValueError:
            raise UserError(f"{path}: not two shares") from None
        priors[name] = [a, b]
    if asked.dirichlet is not None:
        generator = random.Random(asked.seed)
        draws = [
            generator.betavariate(asked.dirichlet, asked.dirichlet) for _ in range(asked.draws)
        ]
        share = sum(draws) / len(draws)
        priors["dirichlet"] = [share, 1 - share]
    if not priors:
        return SETTINGS, ("score[group=tail]",)
    return {**SETTINGS, "priors": priors}, tuple(f"score[prior={name}]" for name in priors)


def predict(job, name):
    if not job.attempt.weights.exists():
        raise UserError(f"{job.attempt.weights}: no kept weights")
    import numpy as np

    return {"score": np.array([float(job.attempt.weights.read_text())])}


def _protocol(name: str, revision: int = 1) -> Protocol:
    return Protocol(
        name=name,
        dataset=DATA,
        split="none@0",
        test="none",
        backbone="none",
        budget=Budget(iterations=STEPS, batch=1),
        augmentation="none",
        recipe=name,
        revision=revision,
        summary="adds up random numbers",
        build=lambda path: ({}, FACTS),
        train=train,
        predict=predict,
        prediction_sets={"test": "a number"},
        seconds=1.0,
    )


TASK = Task(
    name="fake",
    question="Does the harness hold?",
    protocols=(_protocol("quick"), _protocol("other")),
    default_protocol="quick",
    metrics=(Metric(name="score", summary="mean of what was drawn"),),
    primary=("score[group=tail]", "score"),
    columns=("score", "score[group=tail]"),
    version=1,
    settings=lambda protocol: SETTINGS,
    evaluate=evaluate,
    offers={"shifts": shifted},
)
