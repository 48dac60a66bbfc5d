"""longtail-seg at the papers' scale: copies in the official layouts, protocols, networks, sketches.

The copies are a few pictures of 64x64 noise; the counts expected are made small to match.
"""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segmentation_files import (
    SETTINGS,
    SIZES,
    SPECS,
    _few,  # noqa: F401
    copy,  # noqa: F401
    first,
    make,
    save,
)

from suite.base import settings
from suite.base.errors import DataError, RecordError
from suite.define.card import resolve
from suite.define.catalog import Catalog
from suite.define.task import Trained
from tasks.longtail_seg import evaluation, resampling
from tasks.longtail_seg.networks import NETWORKS
from tasks.longtail_seg.protocols import PROTOCOLS
from tasks.vision import groups as profiles
from tasks.vision.data import ade20k, cityscapes, coco_stuff, official, survey


@pytest.fixture
def ade(tmp_path):
    return make(ade20k.SPEC, tmp_path / "ADEChallengeData2016")


def test_groups_are_the_sheets_tail_and_a_third_of_the_rest():
    sizes = {name: (len(s.classes), len(s.tail), s.head) for name, s in SPECS.items()}
    assert sizes == {
        "ade20k": (150, 124, 9),
        "cityscapes": (19, 7, 4),
        "coco-stuff164k": (171, 123, 16),
    }
    for spec in (ade20k.SPEC, cityscapes.SPEC):
        assert sorted(sum(spec.groups.values(), ())) == list(range(len(spec.classes)))
        assert sorted(spec.by_pixels) == list(spec.rest)
    names = cityscapes.SPEC.classes
    groups = {g: [names[c] for c in members] for g, members in cityscapes.SPEC.groups.items()}
    assert groups["head"] == ["road", "building", "vegetation", "car"]
    assert groups["tail"] == [
        "traffic light", "rider", "truck", "bus", "train", "motorcycle", "bicycle",
    ]  # fmt: skip
    assert coco_stuff.SPEC.groups == {"tail": coco_stuff.SPEC.tail}
    assert coco_stuff.SPEC.classes[169] == "window-other"
    assert 169 not in coco_stuff.SPEC.tail


def test_groups_by_counted_pixels():
    made = profiles.groups_beside_tail(6, (1, 5), 2, [3, 99, 7, 7, 1, 0])
    assert made == {"head": (2, 3), "medium": (0, 4), "tail": (1, 5)}
    with pytest.raises(ValueError, match="of 5 classes, expected 6"):
        profiles.groups_beside_tail(6, (1, 5), 2, [1] * 5)


def test_id_tables():
    reduced = ade20k.SPEC.labels[0].table
    assert (reduced[0], reduced[1], reduced[150], len(reduced)) == (255, 0, 149, 151)
    ids = cityscapes.SPEC.labels[1].table
    named = {7: "road", 11: "building", 19: "traffic light", 26: "car", 31: "train", 33: "bicycle"}
    assert {i: cityscapes.SPEC.classes[ids[i]] for i in named} == named
    assert [i for i in range(34) if ids[i] == 255] == [
        0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30,
    ]  # fmt: skip


def test_protocols_are_the_sheets():
    mine = {p.name: p for p in PROTOCOLS if p.dataset.name in SPECS}
    assert len(mine) == len(SPECS) * len(NETWORKS) == 51
    assert len({p.hash for p in PROTOCOLS}) == len(PROTOCOLS)
    budgets = {name: mine[f"{name}:segnext-l"].budget for name in SPECS}
    assert {n: (b.iterations, b.batch) for n, b in budgets.items()} == {
        "ade20k": (160_000, 4),
        "cityscapes": (160_000, 2),
        "coco-stuff164k": (80_000, 4),
    }
    assert "windows of 1024 at a stride of 768" in mine["cityscapes:segformer-b0"].test
    assert "whole image" in mine["ade20k:segformer-b0"].test
    catalog = Catalog.load()
    task = catalog.task("longtail-seg")
    for name in SPECS:
        assert catalog.protocol(task, name).name == f"{name}:segnext-l"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ade20k", (4.0, 5, 0.05, 0.4, "whole")),
        ("cityscapes", (1.0, 5, 1.0, 1.0, "whole")),
        ("coco-stuff164k", (1.0, 5, 0.05, 0.1, "whole")),
        ("quick", (1.0, 5, 1.0, 1.0, "tight")),
    ],
)
def test_aucsegs_defaults_are_the_sheets(name, expected):
    """The released configs' lambda multiplies a halved square risk, and a whole exponential one."""
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-seg"), name)
    keys = ("auc_weight", "memory_size", "sample_ratio", "resize_ratio", "placement")
    for method in ("aucseg", "aucseg-nobank", "aucseg-exp", "aucseg-hinge"):
        found = resolve(catalog.card(method), method, protocol.name, {})
        assert tuple(found[key] for key in keys) == expected
        square = method in ("aucseg", "aucseg-nobank")
        assert found["half"] == (square and name != "quick"), method
    found = resolve(catalog.card("tmb"), "tmb", protocol.name, {})
    assert tuple(found[key] for key in keys[1:]) == expected[1:]


# -- copies


def test_a_whole_copy_is_found_from_the_folder_and_from_above(copy):
    spec, folder = copy
    above = folder.parents[len(Path(spec.folders[1]).parts) - 1]
    assert official.find(spec, folder) == official.find(spec, above) == folder
    assert survey.check(spec, folder, True, settings.cache_dir()) == []


def test_no_folder_and_other_things(copy, tmp_path):
    spec, _ = copy
    with pytest.raises(DataError, match="there is no folder"):
        official.find(spec, tmp_path / "none")
    (tmp_path / "other" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds it: expected .* found in .*: images"):
        official.find(spec, tmp_path / "other")


def test_a_half_extracted_archive_says_what_is_missing(copy):
    spec, folder = copy
    part = spec.splits["train"]
    shutil.rmtree(folder / spec.splits["val"].labels)
    for pair in official.pairs(spec, folder, "train")[2:]:
        pair.image.unlink()
        pair.label.unlink()
    with pytest.raises(DataError, match=f"{part.images}/ holds 2 of 4 images") as raised:
        official.find(spec, folder)
    assert "is not whole" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert f"folder {spec.splits['val'].labels}/ is missing" in survey.check(
        spec, folder, False, settings.cache_dir()
    )


def test_a_missing_annotation_and_a_missing_picture(copy):
    spec, folder = copy
    pair, other = official.pairs(spec, folder, "train")[:2]
    pair.label.unlink()
    other.image.unlink()
    problems = survey.check(spec, folder, False, settings.cache_dir())
    relative = pair.image.relative_to(folder).as_posix()
    assert any(p.startswith(f"{relative} has no label ") for p in problems)
    assert any(p.startswith(other.label.relative_to(folder).as_posix()) for p in problems)
    with pytest.raises(DataError, match=pair.image.name):
        official.pairs(spec, folder, "train")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


BAD = {
    "damaged image": ("image", truncate, "cannot be read as an image"),
    "damaged label": ("label", truncate, "cannot be read as an image"),
    "other ids": ("label", lambda p: save(p, np.full((64, 64), 200, np.uint8)), "outside .*: 200"),
    "coloured label": (
        "label",
        lambda p: save(p, np.zeros((64, 64, 3), np.uint8)),
        "no label image: mode RGB",
    ),
    "smaller label": (
        "label",
        lambda p: save(p, np.full((32, 32), 7, np.uint8)),
        "is 64x64, its label .* is 32x32",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_named_by_the_deep_check_and_by_the_reader(copy, bad):
    spec, folder = copy
    which, spoil, message = BAD[bad]
    pair = first(folder, spec)
    spoil(getattr(pair, which))
    assert survey.check(spec, folder, False, settings.cache_dir()) == []
    (problem,) = survey.check(spec, folder, True, settings.cache_dir())
    assert str(getattr(pair, which)) in problem
    with pytest.raises(DataError, match=message):
        official.read_pair(pair)
    if which == "label" and bad != "smaller label":
        with pytest.raises(DataError, match=message):
            survey.statistics(spec, folder, "train", settings.cache_dir() / bad)


def test_of_many_bad_files_the_first_are_named(ade, monkeypatch):
    monkeypatch.setattr(survey, "_SHOWN", 2)
    for pair in official.pairs(ade20k.SPEC, ade, "train"):
        save(pair.label, np.full(SIZES[0], 151, np.uint8))
    problems = survey.check(ade20k.SPEC, ade, True, settings.cache_dir())
    assert problems[2:] == ["2 more pictures with ids outside the class list"]


@pytest.mark.parametrize("spec", [cityscapes.SPEC, coco_stuff.SPEC], ids=lambda s: s.name)
def test_original_ids_give_what_converted_ones_do(spec, tmp_path):
    converted, plain = spec.labels
    folder = make(spec, tmp_path / "copy", plain)
    assert survey.check(spec, folder, True, settings.cache_dir()) == []
    before = [official.read_pair(p)[1] for p in official.pairs(spec, folder, "train")]
    for split in spec.splits:
        for pair in official.pairs(spec, folder, split):
            assert pair.form is plain
            label = official.read_label(pair.label, plain)
            name = pair.label.name.removesuffix(plain.suffix) + converted.suffix
            save(pair.label.with_name(name), label)
    after = official.pairs(spec, folder, "train")
    assert all(p.form is converted for p in after)
    for one, pair in zip(before, after, strict=True):
        assert np.array_equal(one, official.read_pair(pair)[1])
    # one of them gone: the originals, which are whole, are read
    after[0].label.unlink()
    assert all(p.form is plain for p in official.pairs(spec, folder, "train"))
    assert survey.check(spec, folder, False, settings.cache_dir()) == []


@pytest.mark.slow
def test_data_check_on_the_command_line(ade, inside):
    root = ("--data-root", str(ade.parent))
    done = inside("data", "check", "ade20k", *root)
    assert (done.returncode, done.stdout) == (0, "ade20k: sound\n")
    pair = first(ade, ade20k.SPEC, "val")
    truncate(pair.label)
    done = inside("data", "check", "ade20k", *root)
    assert done.returncode == 2
    assert pair.label.name in done.stdout
    assert inside("data", "check", "ade20k", "--quick", *root).returncode == 0
    # of the others nothing is there, and nobody asked
    everything = inside("data", "check", "--quick", *root)
    assert everything.returncode == 0
    assert "ade20k: sound" in everything.stdout
    assert "cityscapes: Cityscapes: none of" in everything.stdout


def test_progress_is_logged(ade, caplog):
    logger = logging.getLogger("longtail_suite.data")
    logger.propagate = True
    with caplog.at_level(logging.INFO, "longtail_suite.data"):
        survey.check(ade20k.SPEC, ade, True, settings.cache_dir())
    assert "ADE20K train: 4 of 4 pictures" in caplog.messages


# -- statistics


def test_statistics_are_the_labels_and_are_kept(copy, monkeypatch, tmp_path):
    spec, folder = copy
    labels = [official.read_pair(p)[1] for p in official.pairs(spec, folder, "train")]
    counts = np.stack([np.bincount(x.ravel(), minlength=256) for x in labels])
    expected = counts[:, : len(spec.classes)]
    assert counts[:, 255].sum() > 0
    made = survey.statistics(spec, folder, "train", tmp_path / "cache")
    assert np.array_equal(made.pixels, expected.sum(0))
    assert np.array_equal(made.presence, expected > 0)
    calls = []
    monkeypatch.setattr(survey, "_examine", lambda *a: calls.append(a))
    again = survey.statistics(spec, folder, "train", tmp_path / "cache")
    assert calls == []
    assert again.sha256 == made.sha256
    assert np.array_equal(again.pixels, made.pixels)
    assert np.array_equal(again.presence, made.presence)


def test_statistics_follow_the_files(ade, tmp_path):
    before = survey.statistics(ade20k.SPEC, ade, "train", tmp_path)
    pair = first(ade, ade20k.SPEC)
    label = np.array(Image.open(pair.label))
    label[:8, :8] = 150
    save(pair.label, label)
    after = survey.statistics(ade20k.SPEC, ade, "train", tmp_path)
    assert after.sha256 != before.sha256
    assert after.pixels[149] > 0
    # another encoding of the same ids is the same data
    Image.fromarray(label).save(pair.label, compress_level=0)
    assert survey.statistics(ade20k.SPEC, ade, "train", tmp_path).sha256 == after.sha256


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_damaged_cache_is_counted_anew(ade, tmp_path, content):
    made = survey.statistics(ade20k.SPEC, ade, "train", tmp_path)
    (kept,) = tmp_path.rglob("*.npz")
    if content is None:
        np.savez(kept, pixels=np.zeros(3), presence=np.zeros((2, 2)), sha256=np.zeros(1))
    else:
        kept.write_bytes(content)
    assert survey.statistics(ade20k.SPEC, ade, "train", tmp_path).sha256 == made.sha256


def test_a_cache_that_cannot_be_written_is_done_without(ade, tmp_path):
    (tmp_path / "file").write_text("")
    made = survey.statistics(ade20k.SPEC, ade, "train", tmp_path / "file")
    assert made.pixels.sum() > 0


def test_a_deep_check_leaves_the_statistics(ade, tmp_path, monkeypatch):
    before = survey.statistics(ade20k.SPEC, ade, "train", tmp_path / "other")
    assert survey.check(ade20k.SPEC, ade, True, tmp_path / "cache") == []
    monkeypatch.setattr(survey, "_examine", None)
    for split in ade20k.SPEC.splits:
        known = survey.statistics(ade20k.SPEC, ade, split, tmp_path / "cache")
        assert split == "val" or known.sha256 == before.sha256


def test_ade20ks_zero_is_ignored(ade):
    label = np.zeros((64, 64), np.uint8)
    label[:32], label[32] = 1, 150
    pair = first(ade, ade20k.SPEC)
    save(pair.label, label)
    read = official.read_label(pair.label, pair.form)
    assert (read[:32] == 0).all()
    assert (read[32] == 149).all()
    assert (read[33:] == 255).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("confusion_pixels", None),
        ("confusion_pixels", np.ones(3, np.uint32)),
        ("confusion_pixels", np.ones((2, 2), np.uint32)),
        ("confusion_pixels", np.array([-1, 1], np.int64)),
        ("confusion_cells", np.array([0, 49], np.uint32)),
        ("confusion_cells", np.array([0.0, 1.0])),
        ("confusion_images", np.array([1, 2], np.uint32)),
        ("confusion_images", np.array([3, -1], np.int64)),
    ],
)
def test_sparse_arrays_of_another_form(name, value):
    arrays = {
        "confusion_cells": np.array([0, 8], np.uint32),
        "confusion_pixels": np.array([5, 6], np.uint32),
        "confusion_images": np.array([2, 0], np.uint32),
    }
    assert evaluation.confusion({"test": arrays}, SETTINGS, Trained()).sum() == 11
    arrays[name] = value
    if value is None:
        del arrays[name]
    for function in (evaluation.confusion, resampling.units):
        with pytest.raises(RecordError, match="confusion"):
            function({"test": arrays}, SETTINGS, Trained())


def test_coco_stuffs_groups_come_from_the_recorded_counts():
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-seg"), "coco-stuff164k")
    about = evaluation.settings(protocol)
    assert set(about["groups"]) == {"tail"}
    counts = list(range(171, 0, -1))
    groups = profiles.resolve_groups(about, counts)
    assert groups["head"] == list(coco_stuff.SPEC.rest[:16])
    assert groups["medium"] == list(coco_stuff.SPEC.rest[16:])
    with pytest.raises(RecordError, match="training counts"):
        profiles.resolve_groups(about, [])
    # of the others nothing is asked
    quick = catalog.protocol(catalog.task("longtail-seg"), "quick")
    assert set(evaluation.settings(quick)) == {"classes", "groups", "group_rule"}
