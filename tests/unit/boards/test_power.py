"""`power`: estimates from the store's runs; plans; wrong use."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import TASK, Records

from suite.base.errors import UserError
from suite.boards.more_seeds import next_seeds
from suite.boards.power import needed as needed_seeds
from suite.define.catalog import Catalog
from suite.stats import power
from suite.stats.ranking import Board

QUICK, FULL = TASK.protocols


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.integers(0, 15))
@settings(deadline=None)
def test_next_seeds_make_the_common_ones(a, b, common):
    seeds = next_seeds(a, b, common)
    assert len(set(seeds)) == len(seeds) and not set(seeds) & (a & b)
    assert len((a | set(seeds)) & (b | set(seeds))) == max(common, len(a & b))
    # a seed that one has costs one run, not two
    assert set(seeds) >= (a ^ b) or set(seeds) <= (a ^ b)


# -- the store's runs

CATALOG = Catalog({TASK.name: TASK}, {})


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path)


def needed(records, a="ce", b="la", protocol=QUICK, **more):
    records.ingest()
    return needed_seeds(records.root, CATALOG, TASK, a, b, protocol=protocol, **more)


def test_how_many_more(records):
    records.seeds("ce", [0.30, 0.31, 0.33, 0.30])
    records.seeds("la", [0.31, 0.31, 0.35, 0.30])
    found = needed(records)
    gaps = [-0.01, 0, -0.02, 0]
    expected = power.paired_seeds(abs(np.mean(gaps)) / np.std(gaps, ddof=1), 0.8)
    assert found.estimate.paired and found.estimate.pilot == 4
    assert found.estimate.total == expected > 4
    assert found.seeds == tuple(range(4, expected))
    assert "rests on 4 common seeds" in found.warnings[0]


def test_told_apart_already_and_never(records):
    records.seeds("ce", [0.30, 0.31, 0.32])
    records.seeds("la", [0.50, 0.52, 0.51])
    records.seeds("same", [0.30, 0.31, 0.32])
    assert needed(records).seeds == ()
    assert "already" in needed(records).words
    assert "no number of seeds" in needed(records, b="same").words


def test_too_few_pilot_runs(records):
    records.seeds("ce", [0.30])
    records.seeds("la", [0.50])
    with pytest.raises(UserError, match="two common seeds"):
        needed(records)


def test_other_seeds_are_not_paired(records):
    records.seeds("ce", [0.30, 0.34, 0.32])
    for seed, value in enumerate([0.33, 0.37, 0.34]):
        records.run("la", seed=10 + seed, mIoU=value)
    found = needed(records)
    assert not found.estimate.paired
    assert any("no common seeds" in line for line in found.warnings)
    # what one has is not trained again
    assert set(found.seeds) >= {0, 1, 2, 10, 11, 12} or len(found.seeds) < 6


@pytest.mark.parametrize("target", [0, 0.05, 1, 2, float("nan")])
def test_targets_that_cannot_be(records, target):
    records.seeds("ce", [0.3, 0.4])
    with pytest.raises(UserError, match="--power"):
        needed(records, target=target)


def test_names_that_are_not_there(records):
    records.seeds("ce", [0.3, 0.4])
    with pytest.raises(UserError, match="neither a method nor a run"):
        needed(records, b="lq")
    with pytest.raises(UserError, match="same row"):
        needed(records, b="ce")


def test_options_of_run_without_it(fake, inside):
    done = inside("power", "steady", "brisk", "--task", "fake", "--dry-run")
    assert done.returncode == 2
    assert "--dry-run is for --run" in done.stderr


def test_power_is_that_of_the_boards_test(records):
    values = {"ce": (0.30, 0.32, 0.31), "la": (0.32, 0.33, 0.34)}
    values |= {f"m{k}": 0.5 + 0.015 * k + np.roll([0.0, 0.02, -0.01], k) for k in range(6)}
    for method, of in values.items():
        records.seeds(method, [float(value) for value in of])
    found = needed(records)
    board = Board([dict(enumerate(of)) for of in values.values()])
    assert found.estimate == board.estimate(0, 1, 0.8)
    assert found.estimate.test == "moderated t" and not found.estimate.reached
    # the board asks for more than a comparison of two
    assert found.estimate.on_board > found.estimate.total > 3
    assert f"would need {found.estimate.on_board} seeds each" in found.words
    # its spread is known better than that of three seeds
    assert not any("too few to know the spread" in line for line in found.warnings)
    apart = needed(records, "ce", "m5")
    assert apart.estimate.reached and apart.seeds == ()
    assert "tells them apart, too" in apart.words
