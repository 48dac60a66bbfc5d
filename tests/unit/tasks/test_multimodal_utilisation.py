"""Utilisation: the probes of rows beside those of training each modality alone, seed by seed."""

import pytest
from records import TASK, Records, protocol

from suite.define.metrics import MetricRow
from suite.store.connection import connect
from suite.store.rows import Run, Side
from tasks.multimodal.utilisation import read_utilisation, reference_row, utilisation

UNDER = protocol(blank={"model": {"encoders": {"audio": {}, "image": {}}}})


def side(method, values, row_id=0):
    """A row; `values` by seed, or as pairs (seed, value)."""
    pairs = values if isinstance(values, list) else values.items()
    return Side(
        row_id=row_id,
        protocol="quick",
        protocol_hash="p",
        evaluation_hash="e",
        dataset=None,
        method=method,
        params={},
        digest="d",
        inputs={},
        runs=tuple(Run(f"{row_id}{k}", 1, seed, value) for k, (seed, value) in enumerate(pairs)),
    )


def ratios(found):
    return {(one.modality, one.side.method): dict(one.ratios) for one in found}


def test_a_ratio_is_of_runs_of_the_same_seed():
    alone = side("ume", {0: 0.5, 1: 0.8, 2: 0.4})
    concat = side("concat", {1: 0.4, 0: 0.25, 7: 0.9})
    (first, second) = utilisation({"audio": [alone, concat]}, {"audio": alone})
    assert first.ratios == {0: 1, 1: 1, 2: 1}
    assert second.ratios == {0: 0.5, 1: 0.5} and second.reference is alone
    interval = second.interval
    assert (interval.mean, interval.n) == (0.5, 2) and interval.low == interval.high == 0.5


def test_one_seed_has_no_interval_and_none_in_common_no_mean():
    alone = side("ume", {0: 0.5})
    found = utilisation(
        {"audio": [side("concat", {0: 0.6}), side("sum", {1: 0.6})]}, {"audio": alone}
    )
    assert found[0].interval.mean == pytest.approx(1.2) and found[0].interval.low is None
    assert found[1].ratios == {} and found[1].interval is None


def test_what_has_no_ratio():
    alone = side("ume", {0: 0.0, 1: 0.5})
    rows = [
        side("concat", {0: 0.5, 1: 0.5}),
        # trained on another modality
        side("unimodal-2", {0: None, 1: None}),
        # two runs of a seed: which one is meant?
        side("sum", [(1, 0.5), (1, 0.6)]),
    ]
    sides = {"audio": rows, "image": rows}
    assert ratios(utilisation(sides, {"audio": alone})) == {("audio", "concat"): {1: 1}}


def test_the_reference_is_ume_or_the_run_on_that_modality():
    ume, first, second = (
        side(name, {0: value}) for name, value in (("ume", 0.5), ("unimodal-1", 0.5), ("mla", 0.6))
    )
    other = side("unimodal-2", {0: None})
    assert reference_row([second, other, first, ume], None, TASK) is ume
    assert reference_row([second, other, first], None, TASK) is first
    assert reference_row([second, other], None, TASK) is None


@pytest.mark.slow
def test_of_rows_of_the_store(tmp_path):
    records = Records(tmp_path)

    def run(method, seed, **probes):
        rows = [
            MetricRow(metric="probe", subset=f"modality={name}", value=value)
            for name, value in probes.items()
        ]
        # of groups and other sets are other rows
        rows += [
            MetricRow(metric="probe", subset=f"group=tail,modality={name}", value=0.01)
            for name in probes
        ]
        records.run(method, seed=seed, rows=[*rows, MetricRow(metric="mIoU", value=0.5)])

    for seed, value in enumerate([0.5, 0.625]):
        run("concat", seed, audio=value, image=0.25)
        run("unimodal-1", seed, audio=2 * value)
        run("unimodal-2", seed, image=0.5)
    records.ingest()
    with connect(tmp_path) as connection:
        found = read_utilisation(connection, TASK, UNDER, None)
        assert ratios(found) == {
            ("audio", "concat"): {0: 0.5, 1: 0.5},
            ("audio", "unimodal-1"): {0: 1, 1: 1},
            ("image", "concat"): {0: 0.5, 1: 0.5},
            ("image", "unimodal-2"): {0: 1, 1: 1},
        }
        assert {one.reference.method for one in found} == {"unimodal-1", "unimodal-2"}
    run("ume", 0, audio=1.0, image=0.25)
    records.ingest()
    with connect(tmp_path) as connection:
        found = read_utilisation(connection, TASK, UNDER, None)
    assert {one.reference.method for one in found} == {"ume"}
    # of the seed that both have
    assert ratios(found)["image", "concat"] == {0: 1}


def test_without_a_reference_there_is_nothing_to_compare(tmp_path):
    records = Records(tmp_path)
    records.run("concat", rows=[MetricRow(metric="probe", subset="modality=audio", value=0.5)])
    records.ingest()
    with connect(tmp_path) as connection:
        assert read_utilisation(connection, TASK, UNDER, None) == []
