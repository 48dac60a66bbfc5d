"""Requests of cluster jobs: site files, flags over them, and what is wrong with either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.base.errors import UserError
from suite.dispatch.request import Site, checked_site, requested_site, sites


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "sites.toml"
        path.write_text(text)
        monkeypatch.setenv("LONGTAIL_SITES", str(path))

    return write


def test_flags_beat_the_profile_and_add_to_its_sbatch_options(profiles):
    profiles(
        '[lab]\npartition = "gpu"\nmem = "8G"\nsbatch = { reservation = "x", exclusive = true }\n'
    )
    site = requested_site(
        "lab", {"mem": "16G", "time": None, "sbatch": ["--nice=5", "hold"], "pack": "3"}
    )
    assert (site.partition, site.mem, site.pack) == ("gpu", "16G", 3)
    assert site.sbatch == {"reservation": "x", "exclusive": True, "nice": "5", "hold": True}


def test_without_a_file_there_are_no_sites():
    assert sites() == {}
    assert requested_site(None, {"partition": None}) == Site()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[lab]\npartion = "x"\n', ["[lab]", "unknown key 'partion'; did you mean partition"]),
        ("[lab]\ngpus_per_node = 'two'\n", ["[lab]", "gpus_per_node"]),
        ("[lab]\ncpus_per_task = 0\n", ["cpus_per_task is 0; at least 1"]),
        ("[lab]\npack = -1\n", ["pack is -1"]),
        ("[lab]\ntime = 'long'\n", ["time 'long'"]),
        ("[lab]\nmem = '16 cows'\n", ["mem '16 cows'"]),
        ("[lab]\nsbatch = { array = '0-9' }\n", ["'array' is set by the suite itself"]),
        ("[lab]\nsbatch = { mem = '9G' }\n", ["give 'mem' as --mem"]),
        ("[lab]\nsbatch = { no-requeue = true }\n", ["set by the suite itself"]),
        ("[lab]\nsbatch = { p = 'x' }\n", ["write its long name"]),
        ("[lab]\nsbatch = { gres = 'gpu:2' }\n", ["--gpus-per-node, such as a100:2"]),
        ("[lab]\nsbatch = { gpus = 1 }\n", ["--gpus-per-node, such as a100:2"]),
        ("[lab]\ngpus_per_node = 'a100'\n", ["gpus_per_node 'a100'"]),
        ("[lab]\ntime = 2\n", ["time is 2 min", "120 s before", "signal_seconds"]),
        ("[lab]\npartition = ''\n", ["no value that sbatch takes"]),
        ("partition = 'x'\n", ["stands outside of a table"]),
        ("[lab\n", ["sites.toml"]),
    ],
)
def test_a_bad_site_file_is_named(profiles, text, parts):
    profiles(text)
    with pytest.raises(UserError) as error:
        sites()
    for part in ["sites.toml", *parts]:
        assert part in str(error.value)
    assert "\n" not in str(error.value).strip()


def test_unknown_site(profiles):
    profiles("[lab]\n")
    with pytest.raises(UserError, match="--site lib: no such site; did you mean lab"):
        requested_site("lib", {})
    with pytest.raises(UserError, match="--pack 'many'"):
        requested_site("lab", {"pack": "many"})


@pytest.mark.parametrize(
    ("text", "minutes"),
    [(90, 90), ("90", 90), ("2:30", 3), ("4:00:00", 240), ("2-12", 3600), ("1-00:01", 1441),
     ("1-02:03:04", 1564)],
)  # fmt: skip
def test_times_as_slurm_writes_them(text, minutes):
    assert Site(time=text).minutes == minutes


@given(st.integers(0, 6), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_every_spelling_of_a_time_is_rounded_up(days, hours, minutes, seconds):
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    text = f"{days}-{hours}:{minutes:02}:{seconds:02}"
    if total < 60:
        with pytest.raises(UserError, match="at least one minute"):
            _ = Site(time=text).minutes
    else:
        assert Site(time=text).minutes == -(-total // 60)


def test_gpus_with_and_without_a_type():
    assert [Site(gpus_per_node=asked).gpus for asked in (0, 2, "4", "a100:2")] == [0, 2, 4, 2]


def test_memory_sizes():
    assert checked_site({"mem": "500"}, "").mem_bytes == 500 << 20  # MiB, as for sbatch
    assert checked_site({"mem": "16GB", "gpu_mem": "80g"}, "").gpu_mem_bytes == 80 << 30


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        (2, 2),
        ("a100:2", 2),
        ("a100_1g.5gb:1", 1),
        ("1g.10gb+me:4", 4),
        ("nvidia_h100_80gb_hbm3_2g.20gb:3", 3),
        ("rtx-6000:1", 1),
    ],
)
def test_a_slice_of_a_gpu_is_a_type_too(asked, number):
    assert checked_site({"gpus_per_node": asked}, "here").gpus == number


@pytest.mark.parametrize(
    "asked", ["a100", ":1", "a b:1", "a100:x", "x;y:1", "a100:2,h100:1", ".x:1"]
)
def test_what_is_no_number_of_gpus_is_said(asked):
    with pytest.raises(UserError, match="a type and a number such as a100:2"):
        checked_site({"gpus_per_node": asked}, "here")
