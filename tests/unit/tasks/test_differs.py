"""`data check` says of a sound copy that is not what was published that its runs carry data-variant."""

import os
from dataclasses import replace

import pytest
from PIL import Image

from suite.define.protocol import DataSet
from tasks.vision.data import cifar, lists
from tasks.vision.data.list_images import differs

SPEC = lists.ListSpec(
    name="tiny",
    summary="",
    folders=("tiny",),
    train="train.txt",
    test="test.txt",
    val=None,
    classes=2,
    test_size=2,
    group_sizes=(0, 0, 2),
    train_size=3,
    largest=2,
    smallest=1,
)


def copy(folder, train, test):
    for name, rows in (("train.txt", train), ("test.txt", test)):
        (folder / name).write_text("".join(f"{name}{i}.jpg {c}\n" for i, c in enumerate(rows)))
    return folder


def test_lists_say_how_much_there_is_of_what(tmp_path):
    assert differs(SPEC, copy(tmp_path, [0, 0, 1], [0, 1])) == ""
    assert differs(SPEC, copy(tmp_path, [0, 0, 0, 1], [0, 1, 1])) == (
        "4 training images instead of 3, 3 test images instead of 2, 3 images of the largest class instead of 2"
    )
    # what is not known of the published lists counts for nothing
    unknown = replace(SPEC, train_size=None, largest=None, test_size=3)
    assert differs(unknown, tmp_path) == ""


def test_a_pack_is_told_by_its_name(tmp_path):
    (tmp_path / "cifar10_lt.npz").touch()
    assert "pack" in cifar.differs("cifar10", tmp_path / "cifar10_lt.npz", False)
    assert cifar.differs("cifar10", tmp_path, False) == ""


@pytest.mark.slow
def test_the_command_says_it(tmp_path, inside):
    home = tmp_path / "places-lt"
    home.mkdir()
    Image.new("RGB", (8, 8)).save(home / "one.jpg")
    for split in ("train", "test"):
        for c in range(365):
            os.link(home / "one.jpg", home / f"{split}{c}.jpg")
        lines = "".join(f"{split}{c}.jpg {c}\n" for c in range(365))
        (home / f"Places_LT_{split}.txt").write_text(lines)
    for options in ((), ("--quick",)):
        done = inside("data", "check", "places-lt", "--data-root", str(tmp_path), *options)
        assert done.returncode == 0, done.stdout
        assert done.stdout.startswith(
            "places-lt: sound, but not the published data: 365 training images instead of 62,500, "
        )
        assert done.stdout.endswith("; its runs carry the flag data-variant\n")


def test_a_data_set_of_somebody_else_differs_from_nothing():
    made = DataSet(
        name="x", summary="", layout="", classes=(), groups={}, group_rule="", find=id, check=id
    )
    assert made.differs(None, True) == ""
