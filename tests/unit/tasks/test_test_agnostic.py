"""`test-agnostic`: which test sets there are, and the scores on them."""

from dataclasses import replace

import numpy as np
import pytest
from records import Records

from suite.base.errors import RecordError, UserError
from suite.boards.rescore import Shift
from suite.define.catalog import Catalog
from suite.define.task import Trained
from suite.dispatch.states import survey
from tasks.test_agnostic import evaluation
from tasks.test_agnostic.evaluation import evaluate, settings, shifted
from tasks.test_agnostic.test_sets import make_sets
from tasks.vision.stored import store

COUNTS = (500, 120, 40, 9)
PER_CLASS = 60
LABEL = np.repeat(np.arange(4), PER_CLASS)
SETTINGS = {
    "classes": 4,
    "ratios": [2, 10],
    "dirichlet": {"factor": 0.01, "mass": 40.0, "jitter": 0.05, "least": 1},
    "draws": 6,
    "seed": 0,
    "independent": False,
}
RECALL = np.array([1.0, 0.5, 0.25, 0.0])


def logits_of(recall):
    """Logits of images of which the first `recall` of each class are right."""
    logits = np.zeros((len(LABEL), 4), np.float32)
    for c, share in enumerate(recall):
        members = np.flatnonzero(c == LABEL)
        right = round(share * len(members))
        logits[members[:right], c] = 1
        logits[members[right:], (c + 1) % 4] = 1
    return logits


def protocol(name="cpu-cifar"):
    catalog = Catalog.load()
    return catalog.protocol(catalog.task("test-agnostic"), name)


def values(rows):
    keys = [(row.metric, row.subset, row.class_) for row in rows]
    assert len(keys) == len(set(keys))
    return {f"{row.metric}[{row.subset}]": row.value for row in rows}


def scored(recall=RECALL, changed=None, counts=COUNTS, **trained):
    sets = {"test": store(logits_of(recall), LABEL)}
    return values(
        evaluate(sets, {**SETTINGS, **(changed or {})}, Trained(class_counts=counts, **trained))
    )


def by_name(changed=None, label=LABEL, counts=COUNTS):
    found = {}
    for one in make_sets(label, counts, {**SETTINGS, **(changed or {})}):
        found.setdefault(one.prior, []).append(one)
    return found


def test_the_sets_are_those_of_the_papers():
    made = settings(protocol())
    assert made["ratios"] == [2, 5, 10, 25, 50]
    label = np.repeat(np.arange(10), 1000)
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    sizes = {}
    for one in make_sets(label, counts, made):
        sizes.setdefault(one.prior, []).append(len(one.images))
    shifts = {2: 7241, 5: 5081, 10: 4084, 25: 3229, 50: 2795}
    for ratio, size in shifts.items():
        assert sizes[f"forward-{ratio}"] == sizes[f"backward-{ratio}"] == [size]
    assert sizes["uniform"] == [10000]
    drawn = {name for name in sizes if name.startswith("dirichlet")}
    assert drawn == {f"dirichlet-{kind}" for kind in ("forward", "uniform", "backward")}
    assert {len(sizes[name]) for name in drawn} == {10}
    assert settings(protocol("inat18"))["ratios"] == [2, 3]
    assert settings(protocol("inat18"))["dirichlet"]["least"] == 0


def test_every_set_holds_distinct_images_in_the_shares_it_stands_for():
    for name, sets in by_name().items():
        for one in sets:
            assert len(np.unique(one.images)) == len(one.images), name
            counted = np.bincount(LABEL[one.images], minlength=4)
            assert counted / counted.sum() == pytest.approx(one.shares)
            assert one.unlabelled is one.images
    order = by_name()["forward-10"][0].shares
    assert (np.diff(order) < 0).all()
    # classes are ranked by what they have in training, not by their id
    other = by_name(counts=COUNTS[::-1])["forward-10"][0].shares
    assert other == pytest.approx(order[::-1])


def test_sets_depend_on_nothing_global_and_on_no_other_draw():
    np.random.seed(1)
    first = by_name()
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    second = by_name({"draws": 3})
    for name, sets in second.items():
        for one, other in zip(sets, first[name], strict=False):
            assert np.array_equal(one.images, other.images)
    np.random.seed(1)
    assert np.array_equal(np.random.get_state()[1], state)
    moved = by_name({"seed": 1})
    assert np.array_equal(moved["forward-2"][0].images, first["forward-2"][0].images)
    drawn = [table["dirichlet-uniform"][0].images for table in (moved, first)]
    assert not np.array_equal(*drawn)


def test_expected_accuracy_is_exact_and_the_set_scatters_around_it():
    found = scored()
    for name, (one, *_) in by_name().items():
        if name.startswith("dirichlet"):
            continue
        assert found[f"top1[draw=expected,prior={name}]"] == pytest.approx(one.shares @ RECALL)
        hit = logits_of(RECALL)[one.images].argmax(1) == LABEL[one.images]
        assert found[f"top1[prior={name}]"] == pytest.approx(hit.mean())
        recall = [hit[LABEL[one.images] == c].mean() for c in range(4)]
        assert found[f"balanced_accuracy[prior={name}]"] == pytest.approx(np.mean(recall))
    assert found["top1[prior=uniform]"] == pytest.approx(RECALL.mean())
    # classes that are all right or all wrong leave no scatter
    sure = scored([1, 1, 0, 0])
    for name in ("forward-2", "backward-10"):
        assert sure[f"top1[prior={name}]"] == pytest.approx(
            sure[f"top1[draw=expected,prior={name}]"]
        )


def test_summaries_over_sets_and_draws():
    found = scored()
    names = [f"{way}-{ratio}" for way in ("forward", "backward") for ratio in (2, 10)]
    shifts = [found[f"top1[prior={name}]"] for name in [*names, "uniform"]]
    assert found["top1[draw=mean,prior=shifts]"] == pytest.approx(np.mean(shifts))
    assert found["top1[draw=worst,prior=shifts]"] == min(shifts)
    assert found["top1_std[prior=shifts]"] == pytest.approx(np.std(shifts, ddof=1))
    hit = logits_of(RECALL).argmax(1) == LABEL
    every = []
    for kind in ("forward", "uniform", "backward"):
        drawn = [hit[one.images].mean() for one in by_name()[f"dirichlet-{kind}"]]
        every += drawn
        assert len(drawn) == 6
        where = f"prior=dirichlet-{kind}]"
        assert found[f"top1[draw=mean,{where}"] == pytest.approx(np.mean(drawn))
        assert found[f"top1_std[{where}"] == pytest.approx(np.std(drawn, ddof=1))
        # a tenth of six draws is one
        assert found[f"top1[draw=worst-decile,{where}"] == pytest.approx(min(drawn))
    assert found["top1[draw=mean,prior=dirichlet]"] == pytest.approx(np.mean(every))
    assert found["top1_std[prior=dirichlet]"] == pytest.approx(np.std(every, ddof=1))
    many = scored(changed={"draws": 20})["top1[draw=worst-decile,prior=dirichlet]"]
    every = [
        hit[one.images].mean()
        for name, sets in by_name({"draws": 20}).items()
        if name.startswith("dirichlet")
        for one in sets
    ]
    assert many == pytest.approx(np.mean(sorted(every)[:6]))
    assert scored(changed={"draws": 1})["top1_std[prior=dirichlet-uniform]"] is None


def test_classes_without_test_images_are_left_out():
    keep = LABEL != 2
    sets = {"test": store(logits_of(RECALL)[keep], LABEL[keep])}
    found = values(evaluate(sets, SETTINGS, Trained(class_counts=COUNTS)))
    assert found["balanced_accuracy[prior=uniform]"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert all(value is not None and np.isfinite(value) for value in found.values())


@pytest.mark.filterwarnings("error")
def test_scores_of_a_set_without_images_are_undefined():
    """Of the largest class there is no test image, and of the others fewer than the ratio leaves one of."""
    label = np.array([1, 2, 3])
    sets = {"test": store(np.eye(4, dtype=np.float32)[label], label)}
    settings = {**SETTINGS, "ratios": [50]}
    for trained in ({}, {"infer": lambda arrays, **_: arrays["logits"]}):
        rows = evaluate(sets, settings, Trained(class_counts=COUNTS, **trained))
        found = values(rows)
        for key in ("top1[prior=forward-50]", "top1[draw=worst,prior=shifts]"):
            assert found[key] is None, key
        assert found["top1[prior=uniform]"] == found["top1[draw=mean,prior=dirichlet]"] == 1


def test_a_method_is_told_the_set_and_shown_its_views_only():
    asked = []

    def infer(arrays, prior=None, unlabelled=None):
        asked.append((prior, unlabelled["logits"]))
        scores = arrays["logits"].mean(0)
        scores[:, 0] += 100  # in place
        return scores

    logits = np.repeat(logits_of(RECALL)[:, None], 2, axis=1)
    views = {}
    for k in (1, 2, 10):
        # which image it is, and of which view
        views[f"view={k}"] = np.zeros_like(logits)
        views[f"view={k}"][:, :, 0] = np.arange(len(LABEL))[:, None]
        views[f"view={k}"][:, 1, 1] = k
    sets = {"test": store(logits, LABEL)} | {k: store(v, LABEL) for k, v in views.items()}
    about = Trained(class_counts=COUNTS, infer=infer, adapts=True)
    found = values(evaluate(sets, SETTINGS, about))
    made = list(make_sets(LABEL, COUNTS, SETTINGS))
    assert len(asked) == len(made)
    for (prior, seen), one in zip(asked, made, strict=True):
        assert prior == pytest.approx(one.shares)
        assert seen.shape == (2, 3, len(one.images), 4)  # expert, view, sample, class
        assert np.array_equal(seen[0, 0, :, 0], one.images)
        assert seen[1, :, 0, 1].tolist() == [1, 2, 10]
    # class 0 is all that is left
    assert found["top1[prior=uniform]"] == 0.25
    assert found["top1[draw=expected,prior=forward-10]"] == pytest.approx(
        by_name()["forward-10"][0].shares[0]
    )
    plain = scored()
    for key, value in plain.items():
        assert found[key.replace("]", ",scores=unadapted]")] == value

    asked.clear()
    evaluate(sets, {**SETTINGS, "independent": True}, about)
    other = list(make_sets(LABEL, COUNTS, {**SETTINGS, "independent": True}))
    for (_, seen), one, same in zip(asked, other, made, strict=True):
        assert np.array_equal(one.images, same.images)  # what is scored does not change
        apart = one.prior.startswith("dirichlet")
        assert np.array_equal(seen[0, 0, :, 0], one.images) != apart


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(RecordError, match="images of class 2, of which the training set has none"):
        scored(counts=(5, 4, 0, 2))
    with pytest.raises(RecordError, match=r"images of class 1 \(and 2 more\), of which"):
        scored(counts=(5, 0, 0, 0))
    with pytest.raises(RecordError, match="counts of 2 classes, the test set needs those of 4"):
        scored(counts=(5, 4))
    with pytest.raises(RecordError, match="no predictions of the test set"):
        evaluate({"train": store(logits_of(RECALL), LABEL)}, SETTINGS, Trained(class_counts=COUNTS))
    with pytest.raises(RecordError, match="no views of the test images are stored"):
        scored(infer=lambda *a, **k: None, adapts=True)


def write(path, shares):
    path.write_text("\n".join(map(str, shares)))
    return path


def test_priors_of_a_user(tmp_path):
    shares = np.linspace(1, 10, 10) / 55
    file = write(tmp_path / "deployed.csv", shares.tolist())
    made, keys = shifted(protocol(), Shift(priors={"deployed": file}))
    assert keys[0] == "top1[draw=expected,prior=deployed]"
    label = np.repeat(np.arange(10), 1000)
    (one,) = make_sets(label, [10] * 10, made)
    assert np.bincount(label[one.images]).tolist() == list(range(100, 1001, 100))
    assert one.shares == pytest.approx(shares)
    made, keys = shifted(protocol(), Shift(dirichlet=0.5, draws=7, seed=3))
    assert keys[0] == "top1[draw=mean,prior=dirichlet]"
    drawn = list(make_sets(label, [10] * 10, made))
    assert [one.prior for one in drawn] == ["dirichlet"] * 7
    both, keys = shifted(protocol(), Shift(priors={"deployed": file}, dirichlet=0.5))
    assert {one.prior for one in make_sets(label, [10] * 10, both)} == {"deployed", "dirichlet"}
    hundred, keys = shifted(protocol(), Shift(ratios=(100.0,)))
    found = {one.prior: len(one.images) for one in make_sets(label, range(10, 0, -1), hundred)}
    assert found == {"forward-100": 2478, "uniform": 10000, "backward-100": 2478}
    assert keys[1:] == ("top1[prior=forward-100]", "top1[prior=backward-100]")
    # neither: the task's own sets, other draws
    own, keys = shifted(protocol(), Shift(draws=2))
    assert own == {**settings(protocol()), "draws": 2}
    assert len(keys) == len(set(keys))
    known = values(
        evaluate({"test": store(logits_of(RECALL), LABEL)}, SETTINGS, Trained(class_counts=COUNTS))
    )
    assert set(keys) <= set(known)


@pytest.mark.parametrize(
    ("name", "shares", "problem"),
    [
        ("p", [0.1] * 9, "9 shares, expected 10"),
        ("p", [0.2] * 10, "sum to 2"),
        ("p", [-0.1, 0.3, *[0.1] * 8], "share of class 0 is -0.1"),
        ("a,b", [0.1] * 10, "its name is that of the distribution"),
        ("dirichlet", [0.1] * 10, "none of the task's own"),
        ("forward-50", [0.1] * 10, "none of the task's own"),
    ],
)
def test_bad_priors(tmp_path, name, shares, problem):
    file = write(tmp_path / f"{name}.csv", shares)
    with pytest.raises(UserError, match=problem) as caught:
        shifted(protocol(), Shift(priors={name: file}))
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_every_protocol_has_its_settings_and_columns():
    catalog = Catalog.load()
    task = catalog.task("test-agnostic")
    assert len({task.evaluation_hash(p) for p in task.protocols}) > 3
    shown = set(scored(changed={"ratios": [2, 50]}))
    assert set(task.columns) | set(task.primary) <= shown
    assert task.version == evaluation.VERSION
    own = {p.name for p in task.protocols}
    assert {"smoke", "quick", "cpu-cifar", "r32-200-rot:cifar100,exp,ir100,shuffled"} <= own


def test_a_protocol_on_a_data_set_without_test_distributions_is_not_accepted(tmp_path):
    """Its runs are those of the other task; to look at them breaks nothing."""
    catalog = Catalog.load()
    cls, agnostic = (catalog.task(name) for name in ("longtail-cls", "test-agnostic"))
    assert {p.dataset.name for p in agnostic.protocols} <= evaluation.DATASETS
    smoke = cls.protocols["smoke"]
    new = replace(smoke, name="new", recipe="new", dataset=replace(smoke.dataset, name="new-data"))
    more = cls.protocols.plus(new)
    tasks = {
        cls.name: replace(cls, protocols=more),
        agnostic.name: replace(agnostic, protocols=more.on(evaluation.DATASETS)),
    }
    assert tasks[agnostic.name].protocols.names == agnostic.protocols.names
    known = Catalog(tasks, {})
    records = Records(tmp_path)
    for under in (smoke, new):
        records.run("ce", under=under)
    found, _ = survey(tmp_path, known)
    assert {run.spec.protocol: (run.tasks, run.state) for run in found} == {
        "smoke": (("longtail-cls", "test-agnostic"), "done"),
        "new": (("longtail-cls",), "done"),
    }
    assert known.accepting(new) == [tasks[cls.name]]
