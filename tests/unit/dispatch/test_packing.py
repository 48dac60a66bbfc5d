"""Which runs share a job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.base.errors import UserError
from suite.define.spec import RunSpec
from suite.dispatch.packing import MARGIN, TARGET_SECONDS, Measured, pack
from suite.dispatch.request import Site
from suite.runs.job import Assignment


def work(*methods):
    return [
        Assignment(
            spec=RunSpec(protocol="p", protocol_hash="h", method=method, seed=seed),
            attempt=1,
            digest="d",
            root="/r",
        )
        for seed, method in enumerate(methods)
    ]


def packed(runs, site=Site(), threads=1, workers=None, measured=None, rough=None):
    return pack(
        runs, site, threads=threads, workers=workers, measured=measured or {}, rough_seconds=rough
    )


def sizes(packing):
    return [len(job) for job in packing.jobs]


def test_a_given_number():
    packing = packed(work(*"abcdefg"), Site(pack=3))
    assert sizes(packing) == [3, 3, 1]
    assert "3 run(s) a job" in packing.why


def test_auto_fills_a_quarter_of_an_hour_with_margin():
    measured = {"a": Measured(seconds=150.0)}
    # 150 s with margin is 187.5 s: four fit
    packing = packed(work(*"a" * 9), measured=measured)
    assert sizes(packing) == [4, 4, 1]
    assert "15 min" in packing.why
    assert "25% margin" in packing.why


def test_auto_respects_the_time_limit_and_uses_all_slots():
    measured = {"a": Measured(seconds=60.0)}
    # 80 % of 10 minutes hold six runs of 75 s; two at a time on four cores with two threads each
    packing = packed(work(*"a" * 20), Site(time=10, cpus_per_task=4), threads=2, measured=measured)
    assert packing.slots == 2
    assert sizes(packing) == [12, 8]


def test_auto_without_any_measurement_is_one_round_of_slots():
    packing = packed(work(*"ab" * 3), Site(cpus_per_task=2))
    assert sizes(packing) == [2, 2, 2]
    assert "nothing measured yet" in packing.why
    assert sizes(packed(work(*"aaaa"), rough=100.0)) == [4]


def test_memory_bounds_the_runs_at_a_time():
    measured = {"a": Measured(seconds=1.0, memory=2 << 30)}
    on_cpu = Site(cpus_per_task=8, mem="8G")
    assert packed(work("a"), on_cpu, measured=measured).slots == 3
    with pytest.raises(UserError, match=r"mem is 1\.0 GiB, and an earlier run took 2\.0 GiB"):
        packed(work("a"), Site(mem="1G"), measured=measured)
    assert packed(work("a"), Site(mem="1G"), measured=measured, workers=1).slots == 1


def test_several_runs_share_a_gpu_only_where_its_memory_is_known():
    measured = {"a": Measured(seconds=1.0, memory=10 << 30)}
    assert packed(work("a"), Site(gpus_per_node=2), measured=measured).slots == 2
    assert packed(work("a"), Site(gpus_per_node=2, gpu_mem="80G"), measured=measured).slots == 12
    assert packed(work("a"), Site(gpus_per_node=2, gpu_mem="80G")).slots == 2


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=60),
    st.dictionaries(st.sampled_from("abc"), st.floats(0.1, 1e5)),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 300)),
)
def test_every_run_is_in_one_job_and_no_job_is_longer_than_it_may_be(
    methods, seconds, cores, minutes
):
    runs = work(*methods)
    measured = {method: Measured(seconds=value) for method, value in seconds.items()}
    site = Site(cpus_per_task=cores, time=minutes)
    packing = packed(runs, site, measured=measured, rough=50.0)
    assert [run for job in packing.jobs for run in job] == runs
    target = TARGET_SECONDS if minutes is None else min(TARGET_SECONDS, 0.8 * 60 * minutes)
    for job in packing.jobs:
        each = [min(seconds.get(run.spec.method, 50.0) * MARGIN, target) for run in job]
        assert sum(each) <= target * packing.slots * (1 + 1e-9)
