"""The page Classes, run in this process."""

import pytest
from dashboards import _restored, check, open_page, texts  # noqa: F401
from records import HOSTILE, TASK, Records, edit
from strangers import catalog as installed
from strangers import finished

from suite.boards.confusions import confusion_of, flows
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.records.lookup import all_attempts
from suite.store.ingest import ingest


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three seeds each of three methods under longtail-cls quick, with predictions."""
    place = tmp_path_factory.mktemp("classes")
    for seed in range(3):
        for method in ("ce", "la-posthoc", "focal"):
            finished(place, seed, method, infers=method == "la-posthoc")
    ingest(place, installed().tasks(), installed().code)
    return place


def frame(page, words):
    """The table whose title holds these words."""
    return next(found.value for found in page.dataframe if words in found.proto.alt)


def test_scores_differences_and_flows(root):
    page = open_page(root, "classes", task="longtail-cls", a="la-posthoc", b="ce")
    said = texts(page)
    assert page.multiselect(key="rows").value[0] == "ce"
    table = frame(page, "the most frequent first")
    assert len(table) == 10
    # the most frequent first, with counts
    assert table["2"].tolist() == list(range(120, 20, -10))
    assert page.selectbox(key="b").value == "ce"
    groups = frame(page, "summed over")
    assert groups["0"].tolist()[-1] == "all"
    assert groups["1"].tolist()[-1] == 10
    assert groups["2"].tolist()[-1] == pytest.approx(sum(groups["2"].tolist()[:-1]))
    changes = frame(page, "by class: ")
    assert changes["3"].sum() == pytest.approx(groups["2"].tolist()[-1])
    assert "la\\-posthoc against ce" in said or "la-posthoc against ce" in said
    table = frame(page, "largest flows")
    first = expected_flows(root)[0]
    names = installed().task("longtail-cls").protocols[0].dataset.classes
    assert table.iloc[0].tolist() == pytest.approx(
        [
            names[first.payer],
            names[first.gainer],
            first.lost,
            100 * first.lost_share,
            first.won,
            100 * first.won_share,
        ]
    )
    assert "Which class pays for which" in said


def expected_flows(root):
    task, total = installed().task("longtail-cls"), {}
    for run in all_attempts(root):
        method = run.record().spec.method
        found = confusion_of(run, task, installed())
        total[method] = total.get(method, 0) + found
    return flows(total["ce"], total["la-posthoc"], 3)


def test_choices_are_in_the_url_and_nonsense_is_named(root):
    page = open_page(
        root, "classes", task="longtail-cls", a="focal", b="ce", rows=["focal", "nobody"]
    )
    assert (page.selectbox(key="a").value, page.selectbox(key="b").value) == ("focal", "ce")
    assert any("nobody" in warning.value for warning in page.warning)
    same = open_page(root, "classes", task="longtail-cls", a="ce", b="ce")
    assert "are the same row" in texts(same)


def test_pruned_predictions_are_said_with_their_command(root, tmp_path):
    for seed in range(3):
        finished(tmp_path, seed, "ce")
        lost = finished(tmp_path, seed, "la-posthoc", infers=True)
        (lost.path / "predictions.npz").unlink()
    ingest(tmp_path, installed().tasks(), installed().code)
    page = open_page(tmp_path, "classes", task="longtail-cls")
    assert "no stored predictions" in texts(page)
    commands = [code.value for code in page.code]
    assert any(
        c.startswith("python -m suite run --task longtail-cls") and "--fresh" in c for c in commands
    )
    assert len(frame(page, "by class: ")) == 10  # all else is there


def test_what_takes_long_is_asked_for(root, monkeypatch):
    from dashboard import confusions

    monkeypatch.setattr(confusions, "READ_AT_ONCE", 1)
    page = open_page(root, "classes", task="longtail-cls", a="la-posthoc", b="ce")
    assert not any("largest flows" in f.proto.alt for f in page.dataframe)
    page.toggle(key="read").set_value(True).run()
    check(page)
    assert len(frame(page, "largest flows")) > 0


def toy():
    return Catalog({"toy-task": TASK}, {})


def iou(*values):
    return [
        MetricRow(metric="IoU", class_=name, value=value)
        for name, value in zip(TASK.protocols[0].dataset.classes, values, strict=True)
    ]


def test_names_of_strangers_are_texts(tmp_path):
    made = Records(tmp_path)
    names = [*HOSTILE, "<script>alert(1)</script>", "x" * 10_000, "x" * 9_999 + "y"]
    for place, name in enumerate(names):
        for seed in range(2):
            made.run(
                name,
                seed=seed,
                rows=[*iou(0.1 * (place % 9), 0.5, None), MetricRow(metric="mIoU", value=0.1)],
            )
    made.ingest()
    page = open_page(tmp_path, "classes", catalog=toy(), a=names[0], b=names[-3])
    said = texts(page)
    assert "<script>" not in said
    assert max(map(len, said.splitlines())) < 2000
    assert len(page.multiselect(key="rows").options) == len(names)
    # no record tells training counts
    assert "No record tells the training counts" in said
    assert frame(page, "the most frequent first")["2"].isna().all()
    # the task has no confusion
    assert "keeps no predictions" in said


def test_empty_states(tmp_path):
    made = Records(tmp_path)
    made.run("ce", mIoU=0.3)
    made.ingest()
    page = open_page(tmp_path, "classes", catalog=toy())
    assert "no finished run under toy" in texts(page)
    assert [code.value for code in page.code] == ["python -m suite evaluate --task toy-task"]
    made.run("ce", seed=1, rows=iou(0.1, 0.2, 0.3))
    made.ingest()
    assert "two rows are needed" in texts(open_page(tmp_path, "classes", catalog=toy()))
    made.run("la", seed=2, rows=iou(0.1, 0.2, 0.3))
    made.ingest()
    assert "share no seed" in texts(open_page(tmp_path, "classes", catalog=toy()))


def test_a_stranger_may_tell_any_count(tmp_path):
    made = Records(tmp_path)
    for seed in range(2):
        run = made.run("ce", seed=seed, rows=iou(0.1, 0.2, 0.3))
        edit(run.path / "record.json", class_counts=[10**18, 0, -1])
        run = made.run("la", seed=seed, rows=iou(0.2, 0.2, 0.3))
        edit(run.path / "record.json", class_counts=[0, 7, 0])
    made.ingest()
    page = open_page(tmp_path, "classes", catalog=toy())
    assert frame(page, "the most frequent first")["2"].tolist() == [7, 0, 0]
