"""A task on the shared floor, as a third party would write it: noisy patterns of ten classes, and the question
how far the best and the worst class are apart."""

from suite.define.task import Metric, Task
from tasks.vision import groups
from tasks.vision.data.sources import IMAGES, Images, Source
from tasks.vision.image_sets import embedded
from tasks.vision.per_class import OFFERS, class_rows, group_rows, recalls, row
from tasks.vision.predicted import predict
from tasks.vision.protocols import image_protocol
from tasks.vision.recipes.small_images import SmallRecipe

TASKS = {"toy": "toy_task:TASK"}
COUNTS = groups.class_counts("exp", 80, 10, 10)


def patterns(source, path):
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays, LongTailed, observed

    generator = np.random.default_rng(0)
    clean = generator.integers(0, 256, (10, 1, 8, 8))

    def drawn(counts):
        label = np.repeat(np.arange(10), counts)
        noisy = clean[label] + generator.normal(0, 80, (len(label), 1, 8, 8))
        return ImageArrays(noisy.clip(0, 255).astype(np.uint8), label)

    train, test = drawn(COUNTS), drawn([20] * 10)
    digests = observed(train, test)
    return LongTailed(train=train, test=test, class_counts=COUNTS, observed=digests)


IMAGES["patterns"] = Images(
    classes=tuple(f"pattern {c}" for c in range(10)),
    edge=8,
    mean=(128.0,),
    std=(80.0,),
    counts=lambda source: COUNTS,
    split=lambda source: "patterns@1",
    load=patterns,
)
SOURCE = Source("patterns")
DATA = embedded("patterns", "noisy patterns of ten classes", SOURCE, thresholds=(40, 15))
RECIPE = SmallRecipe(depth=8, width=4, epochs=12, batch=32, crop=1, flip=False, lr=0.05)
SMOKE = image_protocol(
    "smoke", DATA, SOURCE, RECIPE, imports=("toy_task",), summary="seconds a run", seconds=2.0
)


def evaluate(predictions, settings, trained):
    names = settings["classes"]
    label, predicted = predict(predictions, len(names), trained)
    recall = recalls(label, predicted, len(names))
    members = groups.resolve_groups(settings, trained.class_counts)
    rows = [row("gap", recall.max() - recall.min()), row("recall", recall.mean())]
    return rows + group_rows("recall", recall, members) + class_rows("recall", recall, names)


TASK = Task(
    name="toy",
    question="How far apart are the best and the worst class?",
    protocols=(SMOKE,),
    default_protocol="smoke",
    metrics=(
        Metric(name="gap", higher_is_better=False, summary="best recall of a class less the worst"),
        Metric(name="recall", summary="share of a class's test images that are right; their mean"),
    ),
    primary=("gap",),
    columns=("gap", "recall", "recall[group=tail]"),
    version=1,
    reference="plain",
    settings=lambda protocol: groups.settings(protocol.dataset),
    evaluate=evaluate,
    offers={**OFFERS, "pages": {"toy": "toy_page"}},
)
