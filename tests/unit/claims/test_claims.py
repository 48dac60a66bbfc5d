"""Published numbers: what a file may say, what it is compared with, and what the verdict means."""

import csv
import io
import os
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from claims_files import ENTRY, write
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from records import HOSTILE, TASK, Records, protocol
from scipy import stats as reference

from suite.base.errors import UserError
from suite.boards.leaderboard import board
from suite.claims import read as claims
from suite.claims.claim import UNVERIFIED, VERIFIED
from suite.claims.compare import Ours, columns, compare, verdict
from suite.claims.read import read_claims
from suite.define.catalog import Catalog
from suite.render import claims as tables
from suite.render.formats import to_markdown
from suite.stats.tests import mean_interval
from suite.store.row import Row

TASKS = {TASK.name: TASK}
METHODS = ("ce", "la", "sade")
QUICK = TASK.protocols[0]
TABLE = {key: ENTRY[key] for key in ENTRY if key not in ("method", "value", "metric")}
NONE = object()


def entry(**changes):
    return {key: v for key, v in {**ENTRY, **changes}.items() if v is not NONE}


def read(folder):
    return read_claims(folder, METHODS, TASKS)


def refused(folder):
    with pytest.raises(UserError) as error:
        read(folder)
    return str(error.value)


# -- reading


def test_a_claim_in_full(tmp_path):
    (claim,) = read(write(tmp_path, entry(std=1.25, n=5, differs=["a"], method_as_printed="CE*")))
    assert (claim.method, claim.method_as_printed) == ("ce", "CE*")
    assert (claim.value, claim.std, claim.n, claim.decimals) == (0.415, 0.0125, 5, 2)
    assert claim.source.title == "A paper" and claim.file == "paper.toml"
    assert claim.differs == ("a",) and claim.verified and claim.tag == "R"


def test_a_table_is_its_cells(tmp_path):
    table = {
        **TABLE,
        "metrics": ["mIoU", "mIoU[group=tail]"],
        "methods": {"CE": "ce"},
        "differs": ["of all"],
        "row_differs": {"Theirs": ["of one"]},
        "rows": {"CE": [41.5, [10.0, 0.5]], "Theirs": ["-", 12]},
    }
    first, second, third = read(write(tmp_path, tables=[table]))
    assert (first.metric, first.value, first.std, first.method) == ("mIoU", 0.415, None, "ce")
    assert (second.metric, second.value, second.std) == ("mIoU[group=tail]", 0.1, 0.005)
    assert (third.method, third.method_as_printed) == (None, "Theirs")
    assert second.differs == ("of all",) and third.differs == ("of all", "of one")


def test_a_column_goes_before_its_table_and_adds_its_differences(tmp_path):
    column = {"metric": "mIoU", "protocol": "toy:full", "verified": False, "differs": ["column"]}
    table = {**TABLE, "differs": ["table"], "columns": [column], "rows": {"x": [1.0]}}
    (claim,) = read(write(tmp_path, tables=[table]))
    assert claim.protocol == "toy:full" and not claim.verified
    assert claim.differs == ("table", "column")


@pytest.mark.parametrize(
    ("value", "unit", "expected", "decimals"),
    [
        (62.3, "percent", 0.623, 1),
        (0.8111, "fraction", 0.8111, 2),
        (51.62, "percent-error", 0.4838, 2),
        (0.25, "fraction-error", 0.75, 0),
        (100, "percent", 1.0, 0),
        (0, "percent", 0.0, 0),
    ],
)
def test_units_are_exact_fractions(tmp_path, value, unit, expected, decimals):
    (claim,) = read(write(tmp_path, entry(value=value, unit=unit)))
    assert (claim.value, claim.decimals) == (expected, decimals)


def test_other_units_are_scaled_to_the_cost_they_name(tmp_path):
    changes = {"metric": "peak_memory_bytes", "value": 13.29, "unit": "G", "scale": 1e9}
    (claim,) = read(write(tmp_path, entry(**changes)))
    assert claim.value == pytest.approx(13.29e9) and not claim.is_fraction


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "sadee"}, "unknown method 'sadee'; did you mean sade?"),
        ({"method": NONE}, "names no method"),
        ({"method": "", "method_as_printed": " "}, "names no method"),
        ({"task": "toy-tsk"}, "unknown task 'toy-tsk'; did you mean toy-task?"),
        ({"metric": "mIou"}, "has no metric 'mIou'; did you mean mIoU"),
        ({"protocol": "toy:qick"}, "no protocol 'toy:qick'; did you mean toy:quick"),
        ({"protocol": "*"}, "name one"),
        ({"variants": ["bf16"]}, "has the variants bf16"),
        ({"protocol": "", "variants": ["bf16"]}, "variants without a protocol"),
        ({"value": 100.5}, "not in 0..100"),
        ({"value": -1}, "not in 0..100"),
        ({"value": 1.5, "unit": "fraction"}, "not in 0..1"),
        ({"value": float("nan")}, "not a number"),
        ({"value": float("inf")}, "not a number"),
        ({"value": "41.5"}, "Expected `float`"),
        ({"value": True}, "Expected `float`"),
        ({"std": -0.1}, "at least 0"),
        ({"std": 101.0}, "not in 0..100"),
        ({"std": float("nan")}, "not a number"),
        ({"n": 0}, "at least 1"),
        ({"unit": "G"}, "does not go with mIoU"),
        ({"metric": "loss"}, "does not go with loss"),
        ({"scale": 2.0}, "scale is for units other than"),
        ({"tag": "M"}, "recollection is no source"),
        ({"tag": "P"}, "verified, but its tag is 'P'"),
        ({"tag": NONE}, "has no tag"),
        ({"location": "  "}, "has no location"),
        ({"verified": NONE}, "has no verified"),
        ({"protocol_as_printed": NONE}, "has no protocol_as_printed"),
        ({"sigma": 1.0}, "unknown field `sigma`"),
    ],
)
def test_a_bad_claim_is_refused_by_name(tmp_path, changes, message):
    text = refused(write(tmp_path, entry(metric="mIoU[group=tail]"), entry(**changes)))
    assert message in text
    assert text.startswith(str(tmp_path / "paper.toml"))
    # msgspec counts from 0 and gives the path
    assert "claim 2: " in text or "$.claim[1]" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"CE": [1.0]}}, "row 'CE': 1 values for 2 columns"),
        ({"rows": {"CE": [1.0, "?"]}}, "column 2: '?'"),
        ({"rows": {"CE": [1.0, [1.0]]}}, "column 2: [1.0]"),
        ({"rows": {"CE": [1.0, 101.0]}}, "row 'CE', column 2: value = 101.0"),
        ({"methods": {"CEE": "ce"}}, "methods: 'CEE' is no row of it; did you mean CE?"),
        ({"methods": {"CE": "cee"}}, "column 1: unknown method 'cee'"),
        ({"row_differs": {"X": ["y"]}}, "row_differs: 'X' is no row of it"),
        ({"columns": [{}, {}]}, "either metrics or columns"),
        ({"metrics": ["mIoU", "mIoU"]}, "the same claim as table 1, row 'CE', column 1"),
    ],
)
def test_a_bad_table_is_refused_by_name(tmp_path, changes, message):
    table = {
        **TABLE,
        "metrics": ["mIoU", "mIoU[group=tail]"],
        "rows": {"CE": [1.0, 2.0]},
        **changes,
    }
    text = refused(write(tmp_path, tables=[table]))
    assert message in text
    assert text.startswith(f"{tmp_path / 'paper.toml'}: table 1")


def test_one_number_may_be_printed_by_two_sources_but_once_by_each(tmp_path):
    write(tmp_path, entry(), name="a.toml")
    write(tmp_path, entry(value=40.0), name="b.toml")
    assert [claim.file for claim in read(tmp_path)] == ["a.toml", "b.toml"]
    write(tmp_path, entry(), entry(value=40.0), name="b.toml")
    assert "claim 2: the same claim as claim 1" in refused(tmp_path)


def test_the_keys_of_subsets_may_be_in_any_order(tmp_path):
    first, second = entry(metric="mIoU[b=1,a=2]"), entry(metric="mIoU[a=2,b=1]")
    assert "the same claim" in refused(write(tmp_path, first, second))


def test_a_task_to_come_must_be_announced_and_then_withdrawn(tmp_path):
    later = entry(task="later", metric="anything", protocol="whatever", method=NONE)
    later["method_as_printed"] = "x"
    assert "unknown task 'later'" in refused(write(tmp_path, later))
    (claim,) = read(write(tmp_path, later, future_tasks=["later"]))
    assert claim.task == "later"
    assert "is a task by now" in refused(write(tmp_path, future_tasks=["toy-task"]))


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"claim = [", b"x = 1", b"", b"source = 3", b"a = " + b"[" * 5000, b"1" * 5000],
)
def test_what_is_no_file_of_claims_is_one_line(tmp_path, content):
    (tmp_path / "x.toml").write_bytes(content)
    assert refused(tmp_path).startswith(f"{tmp_path / 'x.toml'}: ")


def test_folders_that_cannot_be_read(tmp_path):
    assert "no such folder; give --claims" in refused(tmp_path / "none")
    assert "holds no *.toml" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.toml")
    assert "not a regular file" in refused(tmp_path)
    (tmp_path / "pipe.toml").unlink()
    (tmp_path / "big.toml").write_bytes(b"#" * (claims.MAX_BYTES + 1))
    assert "larger than" in refused(tmp_path)


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(HOSTILE), st.text()
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from([*ENTRY, "std", "n", "scale", "variants", "differs"]),
    st.one_of(values, st.lists(values, max_size=2)),
)
def test_a_mutated_claim_is_read_or_refused(tmp_path, key, value):
    assume(value is not None and value != [None])
    try:
        write(tmp_path, entry(**{key: value}))
        text = (tmp_path / "paper.toml").read_text()
        tomllib.loads(text)
    except (ValueError, TypeError):
        assume(False)
    try:
        (claim,) = read(tmp_path)
    except UserError as error:
        told = str(error)
    else:
        told = "paper.toml"
        assert 0 <= claim.value <= 1 or not claim.is_fraction
        assert claim.method in METHODS
        assert claim.tag in (*VERIFIED, *UNVERIFIED)
    assert "paper.toml" in told


# -- the verdict


def ours(*values):
    return Ours(*mean_interval(values))


def test_the_verdicts():
    three = ours(0.40, 0.41, 0.42)  # 0.41 +- 0.0248
    assert verdict(0.412, three) == "confirmed"
    assert verdict(0.43, three) == "within noise"
    assert verdict(0.44, three) == "below"
    assert verdict(0.38, three) == "above"
    assert verdict(0.41, ours(0.40, 0.42)) == "not enough seeds"
    assert verdict(0.41, ours(0.41)) == "not enough seeds"
    assert verdict(0.41, None) == "not run"
    assert verdict(0.41, None, differs=True) == "not run"
    assert verdict(0.41, three, differs=True) == "protocol differs"
    assert verdict(0.41, ours(0.41), differs=True) == "protocol differs"


def test_near_means_half_a_point_and_not_significant():
    wide = ours(0.30, 0.41, 0.52)
    assert verdict(0.415, wide) == "confirmed"
    assert verdict(0.4151, wide) == "within noise"
    narrow = ours(0.410, 0.4101, 0.4099)
    assert verdict(0.412, narrow) == "below"


def test_a_printed_spread_counts_only_with_its_number_of_runs():
    three = ours(0.40, 0.41, 0.42)
    assert verdict(0.44, three, std=0.01) == "below"
    assert verdict(0.44, three, n=3) == "below"
    assert verdict(0.44, three, std=0.01, n=1) == "below"
    assert verdict(0.44, three, std=0.01, n=3) == "within noise"
    # t(4) = 2.776: +- 0.0124 reaches down to 0.4376, ours up to 0.4348
    assert verdict(0.45, three, std=0.01, n=5) == "below"


fractions = st.floats(0, 1).map(lambda x: round(x, 4))


@given(fractions, st.lists(fractions, min_size=3, max_size=6))
def test_without_a_spread_the_verdict_is_the_t_test_of_the_printed_value(value, sample):
    assume(len(set(sample)) > 1)
    p = float(reference.ttest_1samp(sample, value).pvalue)
    assume(abs(p - 0.05) > 1e-6)
    found = verdict(value, ours(*sample))
    assert (found in ("below", "above")) == (p < 0.05)
    if found == "below":
        assert sum(sample) / len(sample) < value


@given(
    fractions,
    st.lists(fractions, min_size=3, max_size=6),
    st.floats(0, 0.2),
    st.integers(2, 9),
)
def test_a_spread_never_makes_the_verdict_stricter(value, sample, std, n):
    plain, spread = verdict(value, ours(*sample)), verdict(value, ours(*sample), std=std, n=n)
    assert spread == plain or plain in ("below", "above")


# -- rows of ours


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "root")


def rows(records, today=None):
    records.ingest(today)
    return board(records.root, TASK, protocol=None, by=None, today=today or {}, planned=[])


def one(records, tmp_path, claim=ENTRY, **more):
    found = read(write(tmp_path / "claims", claim))
    (made,) = compare(found, {TASK.name: rows(records)}, more.pop("tasks", TASKS), **more)
    return made


def test_ours_stands_beside_the_claim(records, tmp_path):
    records.seeds("ce", [0.41, 0.42, 0.43])
    records.seeds("la", [0.9, 0.9, 0.9])
    made = one(records, tmp_path)
    mean, low, high, n = mean_interval([0.41, 0.42, 0.43])
    assert made.ours == pytest.approx((mean, low, high, n))
    assert made.difference == pytest.approx(0.005)
    assert (made.status, made.protocol, made.differences) == ("confirmed", "toy:quick", ())


def test_a_cost_is_compared_with_the_rows_cost(records, tmp_path):
    records.seeds("ce", [0.4, 0.4, 0.4])
    claim = entry(metric="wall_seconds", value=1.0, unit="min", scale=60)
    made = one(records, tmp_path, claim)
    assert made.ours == (61.0, None, None, 3) and made.difference == 1.0
    assert made.status == "not enough seeds"  # costs have no interval


def test_what_does_not_count_is_not_run(records, tmp_path):
    records.seeds("ce", [0.4] * 3, under=TASK.protocols[1])  # another protocol
    records.seeds("ce", [0.4] * 3, evaluation_hash="0ther")  # another evaluation
    old = protocol(revision=2)
    records.seeds("ce", [0.4] * 3, under=old)  # a protocol of the past
    records.unfinished("ce", seed=9)
    made = one(records, tmp_path)
    assert (made.status, made.ours, made.difference) == ("not run", None, None)


def test_stale_runs_do_not_count(records, tmp_path):
    records.seeds("ce", [0.4] * 3, digest="old")
    found = read(write(tmp_path / "claims", ENTRY))
    (made,) = compare(found, {TASK.name: rows(records, {"ce": "new"})}, TASKS)
    assert made.status == "not run"


def test_a_mean_over_some_replicates_is_not_ours(records, tmp_path):
    records.seeds("ce", [0.4, 0.4, 0.4])
    records.run("ce", seed=3, loss=1.0)
    made = one(records, tmp_path)
    assert (made.status, made.note) == ("not run", "some replicate has no value")


VARIANTS = tuple(
    protocol(name, recipe=name)
    for name in ("r:c100,first", "r:c100,shuffled", "r:c100,shuffled,best", "r:c10,first")
)


@pytest.fixture
def varied(monkeypatch):
    from dataclasses import replace

    import records as home

    task = replace(TASK, protocols=VARIANTS, default_protocol=VARIANTS[0].name)
    monkeypatch.setattr(home, "TASK", task)
    monkeypatch.setitem(TASKS, task.name, task)
    return task


def varied_rows(records, task):
    records.ingest()
    return board(records.root, task, protocol=None, by=None, today={}, planned=[])


@pytest.mark.slow
def test_the_variants_decide_and_never_the_value(records, tmp_path, varied):
    claim = entry(protocol="r:c100", variants=["shuffled", "best"])
    found = read(write(tmp_path / "claims", claim))

    def made():
        boards = {varied.name: varied_rows(records, varied)}
        (comparison,) = compare(found, boards, {varied.name: varied})
        return comparison

    records.seeds("ce", [0.415] * 5, under=VARIANTS[3])
    assert made().status == "not run"  # of other data
    records.seeds("ce", [0.415] * 5, under=VARIANTS[0])
    assert made().differences == ("our protocol is first and is not best, shuffled",)
    records.seeds("ce", [0.415] * 5, under=VARIANTS[1])
    two = made()
    assert two.differences == ("our protocol is not best",)
    assert (two.protocol, two.status, two.distance) == ("r:c100,shuffled", "protocol differs", 1)
    records.seeds("ce", [0.2, 0.21, 0.22], under=VARIANTS[2])
    last = made()
    assert (last.protocol, last.status, last.differences) == ("r:c100,shuffled,best", "below", ())


def test_parameters_that_were_set_differ_and_the_usual_ones_go_first(records, tmp_path):
    records.seeds("ce", [0.415] * 5, params={"gamma": 2.0})
    usual = {"gamma": 1.0}
    made = one(records, tmp_path, defaults=lambda method, under: usual)
    assert made.status == "protocol differs"
    assert made.differences == ("our parameters are set: gamma=2.0",)
    records.seeds("ce", [0.2, 0.21, 0.22], params={"gamma": 1.0})
    made = one(records, tmp_path, defaults=lambda method, under: usual)
    assert (made.status, made.differences) == ("below", ())


def test_another_copy_of_the_data_differs(records, tmp_path):
    records.seeds("ce", [0.41, 0.42, 0.43], flags=("data-variant",))
    assert one(records, tmp_path).status == "protocol differs"


def test_columns_of_a_board(records, tmp_path):
    records.seeds("ce", [0.41, 0.42, 0.43])
    records.seeds("la", [0.5, 0.5, 0.5])
    folder = tmp_path / "claims"
    write(folder, entry(differs=["x"]), entry(metric="mIoU[group=tail]"), name="a.toml")
    write(folder, entry(value=10.0), name="b.toml")
    write(folder, entry(value=11.0, tag="P", verified=False), name="c.toml")
    found, made = read(folder), rows(records)
    cells = columns(found, made, TASK, ["mIoU"])
    assert list(cells) == [("ce", "toy:quick", "mIoU")]
    nearest = [(c.claim.name, c.status) for c in cells["ce", "toy:quick", "mIoU"]]
    assert nearest == [("b", "above"), ("a", "protocol differs")]
    cells = columns(found, made, TASK, ["mIoU"], verified=False)
    assert [c.claim.name for c in cells["ce", "toy:quick", "mIoU"]] == ["b", "a", "c"]


def test_a_planned_row_has_its_claim(tmp_path):
    found = read(write(tmp_path, ENTRY))
    row = Row(
        task=TASK.name,
        protocol="toy:quick",
        protocol_hash=QUICK.hash,
        evaluation_hash=TASK.evaluation_hash(QUICK),
        dataset=None,
        method="ce",
        params={},
        state="planned",
    )
    ((_, (made,)),) = columns(found, [row], TASK, ["mIoU"]).items()
    assert (made.status, made.protocol) == ("not run", "toy:quick")


# -- showing


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()])
def test_no_text_of_a_file_breaks_out(tmp_path, text):
    hostile = entry(
        method=NONE,
        method_as_printed=text,
        location=text,
        protocol_as_printed=text,
        differs=[text],
    )
    source = {"title": text, "where": text}
    found = read(write(tmp_path, hostile, source=source))
    made = compare(found, {}, TASKS)
    table = tables.as_table(made)
    for cell in (*(cell for line in table.rows for cell in line), *table.notes):
        assert cell.isprintable()
    assert to_markdown(table).count("\n| ") == 2  # rule and row: no line was added
    (record,) = csv.DictReader(io.StringIO(tables.to_csv(made)))
    assert record["source"].lstrip()[:1] not in ("=", "+", "-", "@")
    assert record["status"] == "not run"


def test_a_fraction_is_shown_in_percent_with_the_printed_digits(tmp_path):
    found = read(write(tmp_path, entry(value=38.1, std=1.03)))
    assert tables.value_text(found[0]) == "38.10 ±1.03"
    found = read(write(tmp_path, entry(value=61.68, unit="percent-error", tag="P", verified=False)))
    assert tables.value_text(found[0]) == "38.32 ?"


@pytest.mark.slow
@pytest.mark.parametrize("format", ["table", "csv", "markdown", "latex"])
def test_they_stand_in_the_leaderboard_where_asked_for(tmp_path, monkeypatch, capsys, format):
    from strangers import Stranger

    from suite.cli.leaderboard import print_board

    claim = {**ENTRY, "method": "ce", "task": "longtail-cls", "metric": "balanced_accuracy"}
    folder = write(tmp_path / "claims", {**claim, "protocol": "quick"})
    monkeypatch.setattr(claims, "default_folder", lambda: folder)
    board = Stranger(tmp_path).root, Catalog.load(), "longtail-cls", ["quick"], None, format
    print_board(*board)
    assert "published" not in capsys.readouterr().out
    print_board(*board, claims=True)
    told = capsys.readouterr().out
    assert "published" in told and ("0.415" if format == "csv" else "41.5") in told


@pytest.fixture(scope="module")
def published():
    catalog = Catalog.load()
    return read_claims(claims.default_folder(), catalog.methods(), catalog.tasks())


def test_our_files_are_valid_and_none_is_empty(published):
    catalog = Catalog.load()
    known = claims.default_folder(), catalog.methods(), catalog.tasks()
    files = {claim.file for claim in published}
    files |= {statement.file for statement in claims.read_statements(*known)}
    assert files == {path.name for path in claims.default_folder().glob("*.toml")}
    assert all(claim.source.sheet for claim in published)


def test_groups_and_overall_of_ratio_100_agree(published):
    """CIFAR-100-LT at ratio 100 has 35, 35 and 30 classes in its groups, and a balanced test set."""
    found = {}
    for claim in published:
        if "cifar100,exp,ir100" in claim.protocol and claim.task == "longtail-cls":
            key = claim.file, claim.method_as_printed
            found.setdefault(key, {})[claim.metric] = Decimal(str(claim.value))
    checked = 0
    for key, cells in found.items():
        if "top1[group=tail]" in cells:
            groups = [cells[f"top1[group={g}]"] for g in ("head", "medium", "tail")]
            mean = (
                sum(share * value for share, value in zip((35, 35, 30), groups, strict=True)) / 100
            )
            assert abs(mean - cells["top1"]) <= Decimal("0.0031"), (key, mean)
            checked += 1
    assert checked == 9


def test_the_readme_tells_how_many_there_are(published):
    told = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert f"`claims` holds {len(published)} published numbers" in told


def test_what_was_read_wrongly_at_first(published):
    """Held against the sources once more: epochs, withdrawn numbers, seeds, settings that differ."""
    tricks = [claim for claim in published if claim.file == "bag-of-tricks.toml"]
    assert len(tricks) == 64 and not any("README" in claim.location for claim in tricks)
    mixed = [claim for claim in tricks if "ixup" in claim.location]
    assert {claim.method_as_printed for claim in mixed} == {"Mixup", "Remix", "Manifold mixup"}
    assert len(mixed) == 12
    for claim in tricks:
        epochs = 400 if claim in mixed else 200
        assert f"{epochs} epochs" in claim.protocol_as_printed
        assert any("400 epochs" in line for line in claim.differs) == (claim in mixed)
    differs = {claim.method_as_printed: " ".join(claim.differs) for claim in tricks}
    for printed, words in {
        "Focal": ["sigmoids"],
        "CB-Focal": ["sigmoids", "gamma 1", "0.9 on CIFAR-100 (0.99 at ratio 50)"],
        "CB-CE": ["0.9 on CIFAR-100"],
        "CDT": ["gamma 0.2"],
        "cRT": ["30 epochs"],
        "LWS": ["30 epochs"],
    }.items():
        assert all(word in differs[printed] for word in words), printed
    value = {
        (claim.file, claim.method_as_printed, claim.protocol_as_printed): claim
        for claim in published
    }
    glmc = value["glmc.toml", "GLMC", "CIFAR-10-LT, ratio 100, ResNet-32"]
    assert glmc.value == pytest.approx(0.8775) and glmc.verified
    long = [c for c in published if c.file == "balpoe.toml" and "400" in c.protocol_as_printed]
    seeds = {claim.metric: claim.n for claim in long}
    assert seeds.pop("top1[prior=forward-5]") == 4 and set(seeds.values()) == {5}


def test_a_method_of_the_sheet_is_named_where_it_is_ours(published):
    """A printed name that is one of our methods' says so."""
    catalog = Catalog.load()
    ours = {name.replace("-", "") for name in catalog.methods()}
    for claim in published:
        printed = claim.method_as_printed.lower().replace("-", "").replace(" ", "")
        if printed in ours and claim.task in catalog.tasks():
            assert claim.method is not None, claim
