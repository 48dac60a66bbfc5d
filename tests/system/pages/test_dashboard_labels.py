"""The page of labels, run without a browser."""

import json

import numpy as np
import pytest
from dashboards import _restored, check, open_page, texts  # noqa: F401
from multilabel_records import (
    LABELS,
    PROTOCOL,
    SAMPLES,
    K,
    LabelRecords,
    arrays,
    catalog,
    protocol,
    task,
)
from records import HOSTILE, edit
from records import TASK as OTHER

from suite.define.flags import EXTERNAL
from suite.store.row import Row
from tasks.multilabel import page as labels
from tasks.multilabel.stored import store

KNOWS = {"bce": 1.0, "asl": 1.5, "lsep": 2.0, "warp": 2.5, "tkml": 3.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    records = LabelRecords(tmp_path_factory.mktemp("results"))
    tail = {"bce": 0.5, "asl": 0.4, "lsep": 0.3, "warp": 0.2, "tkml": 0.1}
    for method, knows in KNOWS.items():
        for seed in range(3):
            more = {"ap[group=tail]": tail[method] + seed / 1000}
            records.labelled(method, knows=knows, seed=seed, values=more)
    records.ingest()
    return records.root


def opened(root, view=labels.FREQUENCY, found=None, **query):
    return open_page(root, "labels", catalog=found or catalog(), view=view, **query)


def told_by(page):
    """All that the page says, without the marks that keep it from being Markdown."""
    return texts(page).replace("\\", "")


def table(page, place=-1):
    """The rows of a table, as lists in the order of its columns."""
    return page.dataframe[place].value.to_numpy(dtype=object).tolist()


def titles(page, place=-1):
    config = json.loads(page.dataframe[place].proto.columns)
    return [one["label"] for key, one in config.items() if key != "_index"]


def charts(page):
    return [(json.loads(one.proto.spec), one.proto.alt) for one in page.get("vega_lite_chart")]


# -- AP against frequency


def test_ap_against_frequency(root):
    page = opened(root)
    (spec, alt), told = charts(page)[0], told_by(page)
    assert "AP of 10 labels against their training positives, for bce, " in alt
    assert "2 of 12 labels have no AP" in told and "label10, label11" in told
    assert "head > 99, medium 20-99, tail < 20" in told
    marks = [layer["mark"]["type"] for part in spec["layer"] for layer in part.get("layer", [part])]
    # grounds of three groups with their names, points, lines over about equal counts, ticks of those without AP
    assert marks.count("rect") == 3
    assert {"point", "line", "tick"} <= set(marks)
    lines = table(page)
    assert len(lines) == len(LABELS) and lines[0][:3] == ["label00", "head", 512]
    assert lines[-1][0] == "label11" and all(
        value != value or value is None for value in lines[-1][3:]
    )


def test_rows_are_chosen_by_a_link(root):
    page = opened(root, rows=["warp", "bce"])
    assert page.multiselect(key="rows").value == ["warp", "bce"]
    assert titles(page)[3] == "warp / %" and titles(page)[6] == "bce / %"
    assert table(page)[0][3] == pytest.approx(100 * (0.25 + 0.5 + 0.01))
    page.multiselect(key="rows").set_value([]).run()
    check(page)
    assert "choose a row" in told_by(page)


def test_without_training_counts_labels_are_in_their_own_order(tmp_path):
    records = LabelRecords(tmp_path)
    edit(records.labelled("bce").path / "record.json", class_counts=[])
    records.ingest()
    page = opened(tmp_path)
    assert "No record tells the training counts" in told_by(page)
    assert [line[0] for line in table(page)] == list(LABELS)


def test_scores_without_ap(tmp_path):
    records = LabelRecords(tmp_path)
    records.labelled("bce", ap=dict.fromkeys(range(len(LABELS))))
    records.ingest()
    told = told_by(opened(tmp_path))
    assert "12 of 12 labels have no AP" in told


# -- which measures agree


def test_which_measures_agree(root):
    page = opened(root, labels.AGREEMENT)
    told = told_by(page)
    assert "disagree most: Kendall's tau-b -1.00 over 5 methods; 10 of the 10 pairs" in told
    assert "ap[group=tail]" in told and "Furthest moved" in told
    assert "by their means over 3 replicate(s)" in told and "5 methods" in told
    (heat, alt), (slopes, about) = charts(page)
    assert "Kendall's tau-b of 7 measures over 5 methods, from -1.00" in alt
    assert "places of 5 methods" in about and "5 to 1" in about
    scale = heat["layer"][0]["encoding"]["color"]["condition"]["scale"]
    assert scale["scheme"] == "blueorange" and scale["domain"] == [-1, 0, 1]
    assert slopes["layer"]
    # what less is better of is turned: losses agree with gains
    names = [line[0] for line in table(page, 0)]
    assert "ranking_loss ↓" in names and "mAP" in names
    loss, gain = names.index("ranking_loss ↓"), names.index("tkpr[k=K]")
    assert table(page, 0)[loss][1 + gain] > 0.5
    # beside each measure, how far it agrees with itself from seed to seed
    assert "mean tau-b of single seeds: " in told and "ap[group=tail] 1.00" in told
    assert titles(page, 0)[-1] == "between seeds"
    tail = names.index("ap[group=tail]")
    assert table(page, 0)[tail][-1] == 1


def test_places_of_two_measures(root):
    page = opened(root, labels.AGREEMENT, x="mAP", y="ap[group=tail]")
    lines = table(page, 1)
    assert [[line[0], line[3], line[5], line[6]] for line in lines if line[0] == "tkml"] == [
        ["tkml", 1, 5, -4]
    ]
    assert titles(page, 1)[2] == "mAP / %"
    every = table(page, 2)
    assert {line[0] for line in every} == set(KNOWS)
    page.selectbox(key="y").set_value("mAP").run()
    check(page)
    assert "choose two measures" in told_by(page)


def test_measures_are_chosen(root):
    page = opened(root, labels.AGREEMENT, measures=["mAP", "tkpr[k=1]"])
    assert "Kendall's tau-b of 2 measures" in charts(page)[0][1]
    # counts of what is left out are no measure, and neither are other normalisers
    assert "instances_without_label" not in page.multiselect(key="measures").options
    page.multiselect(key="measures").set_value(["mAP"]).run()
    check(page)
    assert "choose two measures or more" in told_by(page)


def test_under_four_methods_there_is_nothing_to_say(tmp_path):
    records = LabelRecords(tmp_path)
    for place, method in enumerate(("bce", "asl", "lsep")):
        records.labelled(method, knows=1.0 + place)
    for place in range(3):
        records.labelled("bce", knows=3.0 + place, params={"gamma": place})
    records.ingest()
    page = opened(tmp_path, labels.AGREEMENT)
    told = told_by(page)
    assert "3 method(s)" in told and "of fewer than 4 there is nothing to say" in told
    assert "python -m suite run --task toy-task --protocol scenes:mlp --seeds 0-2" in told
    # all rows are six
    page.toggle(key="every").set_value(True).run()
    check(page)
    assert "over 6 rows" in charts(page)[0][1] and "put 6 rows in" in told_by(page)


def test_gaps_and_ties(tmp_path):
    records = LabelRecords(tmp_path)
    for place, method in enumerate(("bce", "asl", "lsep", "warp", "tkml")):
        values = {"coverage": 2.0, "ranking_loss": None if place < 2 else 0.1 * place}
        records.labelled(method, knows=1.0 + place, values=values)
    records.ingest()
    page = opened(tmp_path, labels.AGREEMENT)
    names = [line[0] for line in table(page, 0)]
    # a measure that ties all says nothing; three methods with a value are too few
    for name in ("coverage ↓", "ranking_loss ↓"):
        line = table(page, 0)[names.index(name)]
        assert all(value != value or value is None for value in line[1:]), name
    (heat, _), *_ = charts(page)
    assert "isValid" in json.dumps(heat)
    page = opened(tmp_path, labels.AGREEMENT, measures=["coverage", "ranking_loss"])
    assert "no two of these measures can be compared" in told_by(page)


def test_twenty_methods(tmp_path):
    records = LabelRecords(tmp_path)
    for place in range(20):
        records.labelled(f"method-{place:02}", knows=0.2 * place)
    records.ingest()
    page = opened(tmp_path, labels.AGREEMENT)
    assert "over 20 methods" in charts(page)[0][1]
    assert len(table(page, 1)) == 20
    assert page.multiselect(key="measures").value == [
        "tkpr[k=K]",
        "map_at_k[k=K]",
        "ndcg[k=K]",
        "ranking_loss",
        "coverage",
        "mAP",
        "ap[group=tail]",
    ]


# -- lists


def test_two_lists_side_by_side(root):
    page = opened(root, labels.LISTS, a="tkml", b="bce", seed="1", sample="7")
    (logits, shows), (worse, _) = arrays(1 + 400, 3.0), arrays(1 + 300, 1.0)
    order = np.argsort(-logits[7], kind="stable")
    first = table(page, 0)
    assert titles(page, 0) == ["rank", "label", "relevant", "rank by B", "score"]
    assert [line[1] for line in first[:K]] == [LABELS[c] for c in order[:K]]
    assert [line[0] for line in first[:K]] == [1, 2, 3]
    theirs = {c: rank for rank, c in enumerate(np.argsort(-worse[7], kind="stable"), 1)}
    assert [line[3] for line in first[:K]] == [theirs[c] for c in order[:K]]
    assert [line[4] for line in first[:K]] == pytest.approx([logits[7, c] for c in order[:K]])
    assert titles(page, 1)[3] == "rank by A"
    assert [line[2] for line in first[:K]] == ["yes" if shows[7, c] else "" for c in order[:K]]
    missed = [LABELS[c] for c in order[K:] if shows[7, c]]
    assert [(line[1], line[2]) for line in first[K:]] == [(name, "missed") for name in missed]
    told = told_by(page)
    assert f"sample 7 shows {shows[7].sum()} of 12 labels" in told
    measures = {line[0]: line[1:] for line in table(page)}
    assert set(measures) >= {"tkpr[k=3]", "map_at_k[k=3]", "ranking_loss", "coverage", "one_error"}
    a, b, gap = measures["tkpr[k=3]"]
    assert gap == pytest.approx(a - b)
    assert f"TKPR@3 of A {a:.3f}, of B {b:.3f}" in told


def test_where_they_differ_most(root):
    page = opened(root, labels.LISTS, a="tkml", b="bce", samples="differ most")
    first = page.number_input(key="sample").value
    gaps = []
    for number in (first, None, None):
        if number is None:
            page.button(key="sample-next").click().run()
            check(page)
        measures = {line[0]: line[1:] for line in table(page)}
        gaps.append(abs(measures["tkpr[k=3]"][2]))
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0.3
    assert page.number_input(key="sample").value != first
    page.button(key="sample-first").click().run()
    assert page.number_input(key="sample").value == first
    # another order begins at its own first sample
    page.selectbox(key="samples").set_value("B ahead").run()
    check(page)
    measures = {line[0]: line[1:] for line in table(page)}
    assert measures["tkpr[k=3]"][2] <= 0
    assert page.button(key="sample-first").disabled and page.button(key="sample-previous").disabled
    page.number_input(key="sample").set_value(SAMPLES - 1).run()
    check(page)
    assert not page.button(key="sample-first").disabled


def test_a_sample_without_labels(root):
    page = opened(root, labels.LISTS, sample="4")
    told = told_by(page)
    assert "sample 4 shows 0 of 12 labels; no measure is defined for it" in told
    assert not charts(page)
    assert all(value is None or value != value for line in table(page) for value in line[1:])


def test_one_row_alone(tmp_path):
    records = LabelRecords(tmp_path)
    records.labelled("asl")
    records.ingest()
    page = opened(tmp_path, labels.LISTS, sample="3")
    assert "A second row is needed to compare" in told_by(page)
    assert titles(page, 0) == ["rank", "label", "relevant", "score"]
    assert page.selectbox(key="samples").options == ["test set"]
    page = opened(tmp_path, labels.AGREEMENT)
    assert "1 method(s)" in told_by(page)
    assert len(table(opened(tmp_path))) == len(LABELS)


def test_the_same_row_twice_and_no_common_seed(tmp_path):
    records = LabelRecords(tmp_path)
    records.labelled("asl", seed=1)
    records.labelled("bce", seed=2)
    records.ingest()
    page = opened(tmp_path, labels.LISTS)
    assert "The rows share no seed; shown: asl seed 1, bce seed 2" in told_by(page)
    assert len(page.dataframe) == 3
    page = opened(tmp_path, labels.LISTS, a="asl", b="asl")
    assert "A and B are the same row" in told_by(page)


def test_predictions_that_are_gone_or_damaged(tmp_path):
    records = LabelRecords(tmp_path)
    attempt = records.labelled("asl")
    records.labelled("bce", kept=False)
    records.ingest()
    told = told_by(opened(tmp_path, labels.LISTS))
    assert "predictions.npz" in told and "no stored predictions" in told
    logits, shows = arrays(0, 2.0)
    bce = records.run("bce", attempt=2, evaluated=False, under=PROTOCOL)
    assert bce.path != attempt.path
    attempt.write_predictions({"test": {**store(logits, shows), "logits": logits[:, :5]}})
    told = told_by(opened(tmp_path, labels.LISTS, a="asl", b="asl"))
    assert "stored logits are float32 of shape (30, 5)" in told
    (attempt.path / "predictions.npz").write_bytes(b"PK\x03\x04 no")
    assert "damaged" in told_by(opened(tmp_path, labels.LISTS, a="asl", b="asl"))


def test_rows_that_were_tested_on_other_samples(tmp_path):
    records = LabelRecords(tmp_path)
    records.labelled("asl")
    logits, shows = arrays(0, 2.0)
    records.labelled("bce", predictions=store(logits, ~shows))
    records.ingest()
    assert "were tested on other samples" in told_by(opened(tmp_path, labels.LISTS))


def test_only_the_largest_scores_are_kept(tmp_path, monkeypatch):
    from tasks.vision import stored

    records = LabelRecords(tmp_path)
    logits, shows = arrays(0, 2.0)
    monkeypatch.setattr(stored, "CAP", 10)
    monkeypatch.setattr(stored, "FULL_FLOAT32", 5)
    monkeypatch.setattr(stored, "KEPT", 5)
    capped = store(logits, shows)
    assert capped["top_logits"].shape == (SAMPLES, 5)
    for method in ("asl", "bce"):
        records.labelled(method, predictions=capped)
    records.ingest()
    number = int(np.argmax(shows.sum(axis=1)))
    page = opened(tmp_path, labels.LISTS, sample=str(number))
    order = np.argsort(-logits[number], kind="stable")
    lines = table(page, 0)
    assert [line[1] for line in lines[:K]] == [LABELS[c] for c in order[:K]]
    lost = [
        line for line in lines if line[2] == "missed" and (line[0] is None or line[0] != line[0])
    ]
    assert {line[1] for line in lost} == {LABELS[c] for c in order[5:] if shows[number, c]}
    measures = {line[0]: line[1:] for line in table(page)}
    assert (
        measures["ranking_loss"][0] is None
        or measures["ranking_loss"][0] != measures["ranking_loss"][0]
    )


def test_a_number_that_another_protocol_has_not(tmp_path):
    """What was chosen of a larger test set is no reason to fail under a smaller one."""
    second = protocol("scenes:other")
    records = LabelRecords(tmp_path, task(PROTOCOL, second))
    for method in ("asl", "bce"):
        records.labelled(method)
        logits, shows = arrays(0, 2.0, samples=6)
        records.labelled(method, under=second, predictions=store(logits, shows))
    records.ingest()
    page = opened(tmp_path, labels.LISTS, catalog(records.task), sample="29", protocol="scenes:mlp")
    assert page.number_input(key="sample").value == 29
    page.selectbox(key="protocol").set_value("scenes:other").run()
    check(page)
    assert page.number_input(key="sample").value == 0 and page.number_input(key="sample").max == 5


# -- states, links, names


def test_nonsense_in_the_url(root):
    page = opened(
        root, labels.LISTS, a="nobody", seed="99", sample="-3", samples="sideways", protocol="<b>"
    )
    told = told_by(page)
    for text in ("a=nobody", "seed=99", "sample=-3", "samples=sideways", "protocol=<b>"):
        assert f"{text} in the URL" in told, text
    assert 0 <= page.number_input(key="sample").value < SAMPLES


def test_a_link_opens_the_view(root):
    page = opened(root, labels.LISTS, a="warp", b="asl", seed="2", sample="11", samples="A ahead")
    assert page.number_input(key="sample").value == 11
    assert page.selectbox(key="seed").value == "2"
    assert page.selectbox(key="samples").value == "A ahead"
    assert "A: warp" in told_by(page) and "B: asl" in told_by(page)


def test_many_labels(tmp_path):
    names = tuple(f"word{c:03}" for c in range(374))
    large = protocol("corel:mlp", names)
    of = task(large)
    records = LabelRecords(tmp_path, of)
    counts = tuple(int(1120 / (1 + c)) for c in range(374))
    for place, method in enumerate(("bce", "asl", "lsep", "warp")):
        records.labelled(method, knows=1.0 + place, counts=counts)
    records.ingest()
    page = opened(tmp_path, found=catalog(of))
    assert len(table(page)) == 374
    page = opened(tmp_path, labels.LISTS, found=catalog(of), sample="2")
    ranks = [spec for spec, _ in charts(page)]
    assert '"type": "log"' in json.dumps(ranks)
    assert len(table(page, 0)) >= K


def test_hostile_names_are_texts(tmp_path):
    records = LabelRecords(tmp_path)
    names = [*(name for name in HOSTILE if name), "<script>alert(1)</script>", "x" * 10_000]
    for place, name in enumerate(names):
        records.labelled(name, knows=float(place))
    records.ingest()
    for view in (labels.FREQUENCY, labels.AGREEMENT, labels.LISTS):
        page = opened(tmp_path, view)
        assert "<script>" not in texts(page)
        assert all(about.isprintable() for _, about in charts(page))


def test_empty_states(tmp_path):
    records = LabelRecords(tmp_path / "running")
    records.unfinished("bce", under=PROTOCOL)
    records.ingest()
    assert "no run of toy-task is finished" in told_by(opened(records.root))
    records = LabelRecords(tmp_path / "unscored")
    records.labelled("bce", evaluated=False)
    records.ingest()
    told = told_by(opened(records.root))
    assert "not scored yet" in told and "python -m suite evaluate --task toy-task" in told
    records = LabelRecords(tmp_path / "none")
    records.root.mkdir()
    records.ingest()
    told = told_by(opened(records.root))
    assert "python -m suite run --task toy-task --seeds 0-2" in told
    assert "no task here ranks the labels" in told_by(opened(records.root, found=catalog(OTHER)))


def test_protocols_without_runs_are_not_offered(tmp_path):
    second = protocol("scenes:other")
    records = LabelRecords(tmp_path, task(PROTOCOL, second))
    records.labelled("bce", under=second)
    records.ingest()
    page = opened(tmp_path, found=catalog(records.task))
    assert page.selectbox(key="protocol").options == ["scenes:other"]
    assert [line[0] for line in table(page)] == list(LABELS)


def test_a_method_stands_for_its_default_row():
    def line(name, method, settings, flags=()):
        row = Row(
            **{"task": "t", "protocol": "p", "protocol_hash": "h", "evaluation_hash": "e"},
            **{"dataset": None, "method": method, "params": {}, "state": "done"},
            settings=settings,
            flags=list(flags),
        )
        return labels.Scored(name, row, None)

    lines = [
        line("asl gamma=4", "asl", ["gamma=4"]),
        line("asl", "asl", []),
        line("bce theirs", "bce", [], [EXTERNAL]),
        line("bce margin=1", "bce", ["margin=1"]),
        line("warp b", "warp", ["x=1"]),
        line("warp a", "warp", ["x=2"]),
    ]
    # ours before a stranger's; where none is the default, the best
    assert [one.name for one in labels._row_each(lines)] == ["asl", "bce margin=1", "warp b"]
