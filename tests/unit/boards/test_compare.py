"""`compare`: pairs against scipy, rules, words, notes; post-hoc tests against Demsar (2006) and packages."""

import json
import re
import shlex
import sys
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import EVALUATION, HOSTILE, TASK, Records, protocol
from scipy import stats as reference

from suite.base.errors import UserError
from suite.boards.compare import compare as compare_two
from suite.boards.named_rows import pick_task
from suite.boards.over_seeds import welch_interval
from suite.boards.overview import group_keys, overview
from suite.cli import main
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.define.task import Task
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record
from suite.records.inputs import digest_of
from suite.runs.evaluate import evaluate_attempt
from suite.stats import critical_difference as posthoc
from suite.stats.bootstrap import Units
from suite.stats.ranking import Board

QUICK, FULL = TASK.protocols
CATALOG = Catalog({TASK.name: TASK}, {})
HEADS = Task(
    **{
        **{field: getattr(TASK, field) for field in TASK.__dataclass_fields__},
        "columns": ("mIoU", "mIoU[group=head]", "mIoU[group=tail]"),
    }
)


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path)


def compare(records, a="ce", b="la", task=TASK, today=None, **more):
    records.ingest(today)
    catalog = Catalog({task.name: task}, {})
    return compare_two(records.root, catalog, task, a, b, **more)


def test_common_seeds_are_paired(records):
    x, y = [0.30, 0.34, 0.33, 0.36], [0.33, 0.36, 0.36, 0.37]
    records.seeds("ce", x)
    records.seeds("la", y)
    (line,) = compare(records).lines
    expected = reference.ttest_rel(x, y)
    interval = expected.confidence_interval()
    assert line.p == pytest.approx(expected.pvalue)
    assert (line.low, line.high) == pytest.approx((interval.low, interval.high))
    assert line.difference == pytest.approx(np.mean(x) - np.mean(y))
    assert (line.test, line.n, line.verdict) == ("paired t", 4, "worse")
    assert "ce is worse than la by 2.25 points" in line.words
    # seen from the other side
    (other,) = compare(records, "la", "ce").lines
    assert (other.difference, other.low) == pytest.approx((-line.difference, -line.high))
    assert other.verdict == "better"


def test_lower_may_be_better(records):
    for seed, value in enumerate([1.0, 1.1, 1.2]):
        records.run("ce", seed=seed, loss=value)
        records.run("la", seed=seed, loss=value + 0.5 + seed / 100)
    found = compare(records, metric="loss")
    assert not found.higher_is_better
    assert found.lines[0].verdict == "better"
    assert "0.51 nats" in found.lines[0].words


def test_too_few_seeds_are_no_conclusion(records):
    records.seeds("ce", [0.3, 0.4])
    records.seeds("la", [0.8, 0.9])
    (line,) = compare(records).lines
    assert (line.p, line.low, line.verdict) == (None, None, "none")
    assert line.difference == pytest.approx(-0.5)
    assert "2 common seed(s): no conclusion; add seeds" in line.words


def finished(root, catalog, method, seed, score):
    """A finished and evaluated run of the fake task, without training."""
    task = catalog.task("fake")
    under = catalog.protocol(task, None)
    spec = catalog.spec(method, under, seed)
    made = Attempt(root, spec.run_id, 1)
    made.create(spec)
    made.write_predictions({"test": {"score": np.array([score])}})
    made.write_record(
        Record(
            run_id=spec.run_id,
            attempt=1,
            spec=spec,
            digest=digest_of(root, catalog, spec),
            dataset="fake-data",
            cost=Cost(parameters=7),
            finished=1000.0,
        )
    )
    evaluate_attempt(made, task, under, catalog)


@pytest.fixture
def call(fake, tmp_path, monkeypatch, capsys):
    """`compare` as typed below tmp_path, in this process."""
    monkeypatch.chdir(tmp_path)

    def made(*arguments):
        monkeypatch.setattr(sys, "argv", ["suite", "compare", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return made


def test_the_command_adds_the_missing_seeds(call, tmp_path):
    catalog = Catalog.load()
    for method, seeds in (("steady", (0, 1)), ("brisk", (1, 4))):
        for seed in seeds:
            finished(tmp_path / "results", catalog, method, seed, seed / 10)
    done = call("steady", "brisk", "--format", "json")
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)["rows"]
    assert line["next"] == (
        "python -m suite run --task fake --protocol quick --method steady,brisk --seeds 0,4"
    )
    finished(tmp_path / "results", catalog, "steady", 4, 0.5)
    finished(tmp_path / "results", catalog, "brisk", 0, 0.2)
    (line,) = json.loads(call("steady", "brisk", "--format", "json").stdout)["rows"]
    assert line["common_seeds"] == [0, 1, 4] and line["p"] is not None


def test_other_seeds_are_compared_unpaired(records):
    x, y = [0.30, 0.34, 0.33], [0.53, 0.56, 0.59, 0.51]
    records.seeds("ce", x)
    for seed, value in enumerate(y):
        records.run("la", seed=seed + 2, mIoU=value)
    (line,) = compare(records).lines
    expected = reference.ttest_ind(x, y, equal_var=False)
    interval = expected.confidence_interval()
    assert line.test == "Welch t" and line.common_seeds == (2,)
    assert line.p == pytest.approx(expected.pvalue)
    assert (line.low, line.high) == pytest.approx((interval.low, interval.high))


def test_welch_of_constants():
    found, p = welch_interval([0.5, 0.5], [0.25, 0.25])
    assert (found.mean, found.low, found.high, p) == (0.25, 0.25, 0.25, 0.0)
    found, p = welch_interval([0.5, 0.5], [0.5, 0.5, 0.5])
    assert (found.mean, p) == (0.0, 1.0)


def test_bootstrap_by_choice(records):
    records.seeds("ce", [0.30, 0.34, 0.33, 0.36, 0.31])
    records.seeds("la", [0.33, 0.36, 0.36, 0.37, 0.35])
    found = compare(records, bootstrap=True)
    (line,) = found.lines
    assert "bootstrap" in line.test and line.verdict == "worse"
    assert -0.04 <= line.low < line.high <= -0.01
    assert any("too narrow" in note for note in found.notes)


def test_stale_and_undefined_values_are_no_values(records):
    records.seeds("ce", [0.3, 0.4, 0.5], digest="old")
    records.seeds("ce", [0.6, 0.7, 0.8], digest="new", attempt=2)
    records.seeds("la", [0.3, 0.4, None])
    (line,) = compare(records, today={"ce": "new"}).lines
    assert line.a.mean == pytest.approx(0.7) and line.b.mean is None
    assert line.verdict == "none" and "without a value" in line.words


def test_other_evaluations_are_other_numbers(records):
    records.seeds("ce", [0.3, 0.4, 0.5])
    records.seeds("la", [0.3, 0.4, 0.5], evaluation_hash="f" * len(EVALUATION))
    with pytest.raises(UserError, match="la has no evaluated run"):
        compare(records)


def test_rows_of_one_method(records):
    low = records.seeds("ce", [0.3, 0.4, 0.5], params={"lr": 0.1})
    high = records.seeds("ce", [0.5, 0.6, 0.75], params={"lr": 0.2})
    records.seeds("la", [0.3, 0.4, 0.5])
    with pytest.raises(UserError, match="2 rows, none of them with the default parameters"):
        compare(records)
    found = compare(records, low[0].run_id, high[2].run_id[:9])
    assert [(c.key, c.a, c.b) for c in found.config] == [("params.lr", 0.1, 0.2)]
    assert found.lines[0].difference == pytest.approx(-0.65 / 3)
    with pytest.raises(UserError, match="same row"):
        compare(records, low[0].run_id, low[1].run_id)


def test_protocols_apart_say_in_what(records):
    records.seeds("ce", [0.3, 0.4, 0.5])
    records.seeds("la", [0.3, 0.4, 0.5], under=FULL, evaluation_hash=TASK.evaluation_hash(FULL))
    found = compare(records)
    assert found.lines == () and found.overall is None
    assert [(c.key, c.a["iterations"], c.b["iterations"]) for c in found.protocols] == [
        ("budget", 10, 90)
    ]
    assert "no protocol has both: ce under toy:quick; la under toy:full" in found.notes[0]


def many(count, datasets=1):
    import dataclasses

    made = []
    for k in range(count):
        one = protocol(f"toy:{k}", revision=k + 1)
        data = dataclasses.replace(one.dataset, name=f"toy{k % datasets}")
        made.append(dataclasses.replace(one, dataset=data))
    return Task(
        **{
            **{field: getattr(TASK, field) for field in TASK.__dataclass_fields__},
            "protocols": tuple(made),
        }
    )


def test_over_protocols_by_signed_ranks(records):
    task = many(7)
    gaps = []
    for k, under in enumerate(task.protocols):
        for seed in range(3):
            records.run("ce", seed=seed, under=under, mIoU=0.5 + seed / 100)
            records.run("la", seed=seed, under=under, mIoU=0.51 + k / 100 + seed / 90)
        gaps.append(-(0.01 + k / 100 + (1 / 90 - 1 / 100)))
    found = compare(records, task=task)
    assert len(found.lines) == 7
    assert found.overall.difference == pytest.approx(np.mean(gaps))
    assert found.overall.p == pytest.approx(2 / 2**7) == reference.wilcoxon(gaps).pvalue
    assert found.overall.verdict == "worse"
    # all of one data set (the records say so): not independent
    assert "not independent" in found.overall.words
    fewer = compare(records, task=task, only=task.protocols[0])
    assert fewer.overall is None and len(fewer.lines) == 1


def test_few_protocols_cannot_conclude(records):
    task = many(3)
    for under in task.protocols:
        for seed in range(3):
            records.run("ce", seed=seed, under=under, mIoU=0.5 + seed / 100)
            records.run("la", seed=seed, under=under, mIoU=0.7 + seed / 90)
    assert "cannot reach 5 %" in compare(records, task=task).overall.words


def test_a_task_is_found_where_it_is_the_only_one(records):
    records.seeds("ce", [0.3])
    records.ingest()
    assert pick_task(records.root, CATALOG, None, ["ce"]) is TASK
    with pytest.raises(UserError, match="neither a method"):
        pick_task(records.root, CATALOG, None, ["ce", "nothing"])


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE[:-1])
def test_strangers_names(records, name):
    records.seeds(name, [0.3, 0.4, 0.5])
    records.seeds("la", [0.3, 0.45, 0.5])
    found = compare(records, name, "la")
    (line,) = found.lines
    assert line.verdict == "undecided"
    assert all(c.isprintable() for c in line.words)
    # a shell reads it back as the very name
    assert line.next is None or shlex.split(str(line.next))[4] == name
    everything = overview(records.root, CATALOG, TASK, reference="ce")
    assert all(c.isprintable() for label in everything.methods for c in label)
    msgspec.json.encode(found), msgspec.json.encode(everything)


def test_names_and_metrics_that_are_not_there(records):
    records.seeds("ce", [0.3])
    with pytest.raises(UserError, match="neither a method nor a run"):
        compare(records)
    with pytest.raises(UserError, match="no such metric"):
        compare(records, metric="mIuO")
    with pytest.raises(UserError, match="neither a method nor a run"):
        compare(records, "ce", "")
    records.seeds("la", [0.3])
    with pytest.raises(UserError, match="no bootstrap over test images"):
        compare(records, over="images")


# -- over test images


def test_over_images_of_stored_predictions(tmp_path):
    def units(predictions, settings, trained):
        right = predictions["test"]["right"].astype(float)
        return Units(
            count=len(right),
            score=lambda w: {"mIoU": w @ right / w.sum(axis=1)},
            digest=str(int(predictions["test"]["images"][0])),
        )

    task = Task(
        **{**{f: getattr(TASK, f) for f in TASK.__dataclass_fields__}, "offers": {"units": units}}
    )
    records = Records(tmp_path)
    for method, share in (("ce", 0.70), ("la", 0.73)):
        for seed in range(2):
            right = np.arange(400) < 400 * share + seed
            run = records.run(
                method, seed=seed, rows=[MetricRow(metric="mIoU", value=float(right.mean()))]
            )
            run.write_predictions({"test": {"right": right, "images": np.array([method == "x"])}})
    (line,) = compare(records, task=task, over="images").lines
    assert line.n == 400 and line.verdict == "worse"
    assert line.difference == pytest.approx(-0.03)
    assert line.low < -0.03 < line.high < 0
    assert line.a.mean == pytest.approx(0.70125)
    assert "2 and 2 model(s) as trained" in line.words
    found = overview(records.root, CATALOG, task, reference="ce", images=True)
    assert [(one.method, one.interval.mean) for one in found.images] == [
        ("ce", pytest.approx(0.70125)),
        ("la", pytest.approx(0.73125)),
    ]
    # tested on other images
    other = records.run("other", mIoU=0.5)
    other.write_predictions({"test": {"right": right, "images": np.array([7])}})
    with pytest.raises(UserError, match="other units"):
        compare(records, "ce", "other", task=task, over="images")


# -- post-hoc tests

DEMSAR = {
    # Demsar (2006), table 6: AUC of C4.5, with parameter m, cf, and both. The two values of `voting` that
    # the table rounds to 0.975 are a rank apart there.
    "adult": (0.763, 0.768, 0.771, 0.798),
    "breast cancer": (0.599, 0.591, 0.590, 0.569),
    "breast cancer wisconsin": (0.954, 0.971, 0.968, 0.967),
    "cmc": (0.628, 0.661, 0.654, 0.657),
    "ionosphere": (0.882, 0.888, 0.886, 0.898),
    "iris": (0.936, 0.931, 0.916, 0.931),
    "liver disorders": (0.661, 0.668, 0.609, 0.685),
    "lung cancer": (0.583, 0.583, 0.563, 0.625),
    "lymphography": (0.775, 0.838, 0.866, 0.875),
    "mushroom": (1.000, 1.000, 1.000, 1.000),
    "primary tumor": (0.940, 0.962, 0.965, 0.962),
    "rheum": (0.619, 0.666, 0.614, 0.669),
    "voting": (0.972, 0.981, 0.9752, 0.975),
    "wine": (0.957, 0.978, 0.946, 0.970),
}


def test_demsars_example():
    found = posthoc.critical_difference(list(DEMSAR.values()))
    assert found.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.cd == pytest.approx(1.25, abs=0.005)
    # his chi-square, 9.28, is without the correction for ties
    k, n = 4, 14
    plain = 12 * n / (k * (k + 1)) * (sum(r * r for r in found.ranks) - k * (k + 1) ** 2 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    assert found.statistic == pytest.approx(
        reference.friedmanchisquare(*zip(*DEMSAR.values(), strict=True)).statistic
    )
    assert found.significant
    # "the post-hoc test is not powerful enough": nothing is told apart
    assert found.cliques == ((3, 1, 2, 0),)


@pytest.mark.parametrize(
    ("methods", "q"),
    [
        (2, 1.960),
        (3, 2.343),
        (4, 2.569),
        (5, 2.728),
        (6, 2.850),
        (7, 2.949),
        (8, 3.031),
        (9, 3.102),
        (10, 3.164),
    ],
)
def test_demsars_table_of_critical_values(methods, q):
    scores = np.random.default_rng(0).random((6, methods))
    found = posthoc.critical_difference(scores)
    assert found.cd == pytest.approx(q * (methods * (methods + 1) / 36) ** 0.5, rel=4e-4)


tables = st.integers(2, 6).flatmap(
    lambda k: st.lists(
        st.lists(st.floats(0, 1).map(lambda x: round(x, 2)), min_size=k, max_size=k),
        min_size=2,
        max_size=8,
    )
)


@given(tables, st.booleans())
@settings(deadline=None, max_examples=40)
def test_ranks_add_up_and_cliques_are_within_the_difference(scores, higher):
    found = posthoc.critical_difference(scores, higher)
    k = len(scores[0])
    assert sum(found.ranks) == pytest.approx(k * (k + 1) / 2)
    for clique in found.cliques:
        assert (
            max(found.ranks[i] for i in clique) - min(found.ranks[i] for i in clique)
            <= found.cd + 1e-9
        )
    near = {
        (i, j)
        for i in range(k)
        for j in range(k)
        if abs(found.ranks[i] - found.ranks[j]) <= found.cd
    }
    together = {(i, j) for clique in found.cliques for i in clique for j in clique}
    assert {pair for pair in near if pair[0] != pair[1]} == {p for p in together if p[0] != p[1]}
    lines = posthoc.diagram(found, [f"m{i}" for i in range(k)])
    assert len(lines) == k + 1
    shown = [re.search(r"m(\d)$", line)[1] for line in lines[1:]]
    assert sorted(shown) == [str(i) for i in range(k)]


@pytest.mark.parametrize("scores", [[], [[0.1, 0.2]], [[0.1], [0.2]], [[0.1, np.nan], [0.2, 0.3]]])
def test_tables_without_average_ranks(scores):
    with pytest.raises(ValueError):
        posthoc.critical_difference(scores)


def test_win_rates_by_hand():
    rows = [{"a": 0.3, "b": 0.5, "c": 0.2}, {"a": 0.1, "b": 0.5, "d": 0.9}, {"e": 1.0}]
    found = posthoc.win_rates(rows)
    assert found[0][1] == posthoc.WinRate(0.75, 2)
    assert found[1][0] == posthoc.WinRate(0.25, 2)
    assert found[0][2] is None and found[0][0] is None
    assert posthoc.win_rates(rows, higher_is_better=False)[0][1].rate == 0.25


@pytest.mark.slow
def test_exchange_rate_and_its_fieller_interval_by_simulation():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(1500):
        head = rng.normal(-2.0, 0.3, 5)
        found = posthoc.exchange_rate(head, 6.0 + rng.normal(0, 0.8, 5) + 0.5 * (head + 2))
        assert found.rate == pytest.approx(found.tail.mean / -found.head.mean)
        held += found.low is not None and found.low <= 3.0 <= found.high
    assert held / 1500 == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("head", "tail", "words"),
    [
        ([0.1, 0.2, 0.1], [0.3, 0.3, 0.4], "no price"),
        ([0.1, 0.2, 0.1], [-0.3, -0.3, -0.4], "no exchange: the head loses nothing"),
        ([-0.1, -0.2, -0.1], [-0.3, -0.3, -0.4], "no exchange: head and tail both lose"),
        ([-0.1, -0.2], [0.3, 0.4], "2 common seed(s): no interval"),
        ([-0.3, 0.2, -0.1], [0.3, 0.4, 0.3], "no bounded interval"),
        ([-0.10, -0.11, -0.10], [0.9, -0.6, 0.2], "the tail gain is not told from zero"),
        ([-0.10, -0.11, -0.10], [0.9, 0.8, 0.9], ""),
    ],
)
def test_exchange_rates_in_words(head, tail, words):
    found = posthoc.exchange_rate(head, tail)
    assert found.words.startswith(words) and bool(found.words) == bool(words)
    assert (found.low is None) == (found.high is None)
    assert found.rate is None or found.rate > 0


def test_exchange_of_nothing():
    for head, tail in (([], []), ([0.1], [0.1, 0.2])):
        with pytest.raises(ValueError):
            posthoc.exchange_rate(head, tail)


# -- all methods


def test_all_methods_of_a_board(records):
    for method, head, tail in (("ce", 0.9, 0.2), ("la", 0.8, 0.5), ("focal", 0.9, 0.3)):
        for seed in range(3):
            rows = [
                MetricRow(metric="mIoU", value=(head + tail) / 2 + seed / 100),
                MetricRow(metric="mIoU", subset="group=head", value=head + seed / 100),
                MetricRow(metric="mIoU", subset="group=tail", value=tail + seed / 90),
            ]
            records.run(method, seed=seed, rows=rows)
    records.ingest()
    assert group_keys(HEADS) == ("mIoU[group=head]", "mIoU[group=tail]")
    assert group_keys(TASK) == (None, None)
    found = overview(records.root, CATALOG, HEADS, reference="ce")
    assert found.methods == ("ce", "focal", "la")
    assert found.wins[2][0] == posthoc.WinRate(1.0, 3)
    assert found.ranks is None and "two protocols" in found.ranks_words
    prices = {price.method: price.exchange for price in found.prices}
    assert prices["la"].rate == pytest.approx(3.0) and prices["la"].n == 3
    assert prices["focal"].rate is None and prices["focal"].words.startswith("no price")
    away = overview(records.root, CATALOG, HEADS, reference="cee")
    assert away.prices == () and "did you mean ce" in away.prices_words


def test_average_ranks_leave_nothing_out_in_silence(records):
    task = many(4)
    for k, under in enumerate(task.protocols):
        for number, method in enumerate(("a", "b", "c")):
            if method == "c" and k == 3:
                continue
            records.run(method, under=under, mIoU=0.5 + number / 10)
    records.run("d", under=task.protocols[0], mIoU=0.1)
    records.ingest()
    found = overview(records.root, CATALOG, task, reference="a")
    assert found.ranks.methods == ("a", "b", "c") and found.ranks.found.blocks == 3
    assert found.ranks.found.ranks == (3.0, 2.0, 1.0)
    assert "left out, without runs under all of them: d" in found.ranks_words
    assert "protocols left out: toy:3" in found.ranks_words


def test_a_metric_without_values(records):
    records.seeds("ce", [0.3, 0.4, 0.5])
    records.ingest()
    with pytest.raises(UserError, match="no such metric"):
        overview(records.root, CATALOG, TASK, metric="nope", reference="ce")
    found = overview(records.root, CATALOG, TASK, metric="extra", reference="ce")
    assert found.wins == ((None,),) and "left out: ce" in found.notes[0]


# -- the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("steady",), "compare what?"),
        ((), "compare what?"),
        (("--all",), "--all needs --task"),
        (("steady", "brisk", "--all", "--task", "fake"), "leave A and B out"),
        (("steady", "brisk", "--over", "weeks"), "use seeds or images"),
        (("steady", "brisk", "--over", "images", "--bootstrap"), "--bootstrap is for"),
        (("steady", "brisk", "--format", "latex"), "--format"),
        (("steady", "brisk", "--reference", "x"), "--reference is for --all"),
    ],
)
def test_wrong_use(call, arguments, message):
    done = call(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_every_format(call, tmp_path):
    catalog = Catalog.load()
    for method, start in (("steady", 0.3), ("brisk", 0.5)):
        for seed in range(3):
            finished(tmp_path / "results", catalog, method, seed, start + seed / 50)
    for arguments in (("steady", "brisk"), ("--all", "--task", "fake", "--reference", "steady")):
        for form in ("table", "json", "markdown"):
            done = call(*arguments, "--format", form)
            assert done.returncode == 0, done.stderr
            assert "brisk" in done.stdout
            if form == "json":
                json.loads(done.stdout)
    assert "steady is worse than brisk by 10.00 points" in call("steady", "brisk").stdout
    markdown = call("steady", "brisk", "--format", "markdown").stdout
    table = [line for line in markdown.splitlines() if line.startswith("|")][:3]
    assert len({line.count("|") for line in table}) == 1


@pytest.mark.slow
class TestTheBoardsTest:
    """From five rows on two are compared by the test that ranks their board."""

    VALUES = {
        "ce": (0.30, 0.32, 0.31),
        "la": (0.335, 0.345, 0.355),
        **{f"m{k}": 0.5 + 0.015 * k + np.roll([0.0, 0.02, -0.01], k) for k in range(6)},
    }

    @pytest.fixture
    def board(self, records):
        for method, values in self.VALUES.items():
            records.seeds(method, [float(value) for value in values])
        return records

    def test_it_is_the_test_and_the_verdict_of_the_board(self, board):
        (line,) = compare(board).lines
        whole = Board([dict(enumerate(values)) for values in self.VALUES.values()])
        assert whole.moderated is not None
        low, high = whole.moderated.interval(0, 1)
        p = whole.moderated.p_values(np.array([0]), np.array([1]))[0]
        assert line.test == "moderated t" and line.n == 3
        assert line.p == pytest.approx(p)
        assert (line.low, line.high) == pytest.approx((low, high))
        assert line.difference == pytest.approx(-0.035)
        assert line.apart_on_board is bool(whole.apart[0, 1])

    def test_p_is_of_one_comparison_and_the_board_says_its_own(self, board):
        (near,) = compare(board).lines
        assert near.p < 0.05 and near.apart_on_board is False
        assert "this p is of one comparison: the board of 8 rows" in near.words
        assert "does not tell them apart" in near.words
        (far,) = compare(board, "ce", "m5").lines
        assert far.apart_on_board is True and "tells them apart, too" in far.words

    def test_bootstrap_and_rows_below_three_seeds_stay_their_own(self, board):
        (line,) = compare(board, bootstrap=True).lines
        assert line.test.startswith("paired") and "this p is of" not in line.words
        board.seeds("two", [0.2, 0.21])
        (line,) = compare(board, "ce", "two").lines
        assert line.verdict == "none" and line.apart_on_board is None

    def test_a_small_board_compares_as_before(self, records):
        records.seeds("ce", [0.30, 0.32, 0.31])
        records.seeds("la", [0.33, 0.32, 0.35])
        (line,) = compare(records).lines
        assert line.test == "paired t" and "board" not in line.words
