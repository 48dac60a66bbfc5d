"""Image-list data sets on a few tiny pictures: finding, reading and checking; transforms, batches."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import InfiniteSampler
from PIL import Image, ImageEnhance
from scipy import stats
from torch.utils.data import DataLoader

from suite.base.errors import DataError, UserError
from suite.engine.data import PositionSampler, SeededDataset
from tasks.longtail_cls.further_sets import list_views
from tasks.vision.augment import pictures
from tasks.vision.augment.pictures import (
    CenterCrop,
    ColorJitter,
    HorizontalFlip,
    RandomResizedCrop,
    ResizeShorter,
    build_transform,
    crop_box,
)
from tasks.vision.data import list_images, lists
from tasks.vision.data.images import ImageListDataset, collate_images

ROOT = Path(__file__).parents[3]
TRAIN = [("train/a 1.jpg", 0), ("train/b.jpg", 0), ("train/c.jpg", 1), ("train/d.jpg", 2)]
TEST = [("val/e.jpg", 0), ("val/f.jpg", 1), ("val/g.jpg", 2)]
SPEC = lists.ListSpec(
    name="tiny",
    summary="four training and three test images",
    folders=("tiny", "Tiny_LT"),
    train="Tiny_train.txt",
    test="Tiny_test.txt",
    val="Tiny_val.txt",
    classes=3,
    test_size=3,
    group_sizes=(0, 0, 3),
    train_size=4,
    largest=2,
    smallest=1,
)


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def write(path, rows):
    path.write_text("".join(f"{image} {label}\n" for image, label in rows), encoding="utf-8")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A whole data set in tmp_path/Tiny_LT, known under the name `tiny`."""
    monkeypatch.setitem(lists.SPECS, "tiny", SPEC)
    root = tmp_path / "Tiny_LT"
    for seed, (name, _) in enumerate(TRAIN + TEST):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise(40, 30, seed).save(root / name, quality=95)
    write(root / SPEC.train, TRAIN)
    write(root / SPEC.test, TEST)
    return root


def entries(rows):
    return lists.Entries(tuple(path for path, _ in rows), tuple(label for _, label in rows))


def one_line(error):
    text = str(error)
    assert "\n" not in text
    return text


class TestFinding:
    def test_from_the_folder_and_from_above(self, tiny):
        assert lists.find(SPEC, tiny) == lists.find(SPEC, tiny.parent) == tiny

    @pytest.mark.parametrize("name", lists.SPECS)
    def test_every_usual_spelling(self, tmp_path, name):
        spec = lists.SPECS[name]
        assert name in spec.folders
        for folder in spec.folders:
            root = tmp_path / folder
            (root / folder).mkdir(parents=True)
            write(root / folder / spec.train, [("a.jpg", 0)])
            write(root / folder / spec.test, [("b.jpg", 0)])
            assert lists.find(spec, root) == root / folder

    def test_no_folder(self, tmp_path):
        with pytest.raises(
            DataError, match=r"tiny: there is no folder .*none; expected Tiny_train"
        ):
            lists.find(SPEC, tmp_path / "none")

    def test_other_things(self, tmp_path):
        with pytest.raises(
            DataError, match=r"expected Tiny_train\.txt and .* found in .*: nothing"
        ):
            lists.find(SPEC, tmp_path)
        for k in range(7):
            (tmp_path / f"x{k}").mkdir()
        with pytest.raises(DataError, match=r"folder tiny, Tiny_LT in it.*: x0, .*x4, \.\.\.$"):
            lists.find(SPEC, tmp_path)

    def test_half_a_copy(self, tiny):
        (tiny / SPEC.test).unlink()
        with pytest.raises(DataError, match=r"Tiny_LT is not whole: Tiny_test\.txt is missing"):
            lists.find(SPEC, tiny.parent)


class TestReading:
    def test_paths_and_labels_in_file_order(self, tiny):
        read = lists.read_list(tiny / SPEC.train, 3, training=True)
        assert list(zip(read.paths, read.labels, strict=True)) == TRAIN
        assert len(read) == 4
        assert lists.class_counts(read, 3) == (2, 1, 1)

    def test_line_ends_tabs_and_byte_order_marks_do_not_matter(self, tiny):
        before = lists.read_list(tiny / SPEC.train, 3)
        text = "\ufeff" + "\r\n".join(f"{image} \t{label} " for image, label in TRAIN)
        (tiny / SPEC.train).write_bytes(text.encode())
        assert lists.read_list(tiny / SPEC.train, 3) == before

    BAD = {
        "no label": ("a.jpg", r":2: expected lines `.*`, found 'a\.jpg'"),
        "blank line": ("", ":2: expected lines `relative/path.jpg label`, found ''"),
        "label only": (" 1", ":2: expected lines"),
        "web page": ("<!DOCTYPE html>", ":2: the label is 'html>', expected an integer 0-2"),
        "fraction": ("a.jpg 1.0", r":2: the label is '1\.0', expected an integer 0-2"),
        "underscore": ("a.jpg 0_1", ":2: the label is '0_1'"),
        "other digits": ("a.jpg ٢", ":2: the label is '٢'"),
        "negative": ("a.jpg -1", ":2: the label is '-1', expected an integer 0-2"),
        "too large": ("a.jpg 3", ":2: the label is '3', expected an integer 0-2"),
        "huge": ("a.jpg " + "9" * 5000, r":2: the label is '9+\.\.\.'"),
        "absolute": ("/etc/a.jpg 1", ":2: '/etc/a.jpg' is not a plain relative path"),
        "upwards": ("../a.jpg 1", r":2: '\.\./a\.jpg' is not a plain relative path"),
        "upwards inside": ("train/../../a.jpg 1", "is not a plain relative path"),
        "upwards at the end": ("train/.. 1", "is not a plain relative path"),
        "here": ("./a.jpg 1", "is not a plain relative path"),
        "double slash": ("train//a.jpg 1", "is not a plain relative path"),
        "backslash": ("train\\a.jpg 1", "is not a plain relative path"),
        "indented": (" a.jpg 1", "is not a plain relative path"),
        "null byte": ("a\0.jpg 1", r"'a\\x00\.jpg' is not a plain relative path"),
        "line separator": ("a\u2028b.jpg 1", r"'a\\u2028b\.jpg' is not a plain relative path"),
        "twice": ("x.jpg 2", r":2: 'x\.jpg' is already on line 1; remove one"),
    }

    @pytest.mark.parametrize("bad", BAD)
    def test_a_bad_line_is_named(self, tmp_path, bad):
        line, message = self.BAD[bad]
        path = tmp_path / "list.txt"
        path.write_bytes(f"x.jpg 0\n{line}\ny.jpg 1\n".encode())
        with pytest.raises(DataError, match=message) as raised:
            lists.read_list(path, 3)
        assert one_line(raised.value).startswith(f"{path}:2: ")

    def test_two_dots_within_a_name_are_fine(self, tmp_path):
        write(tmp_path / "list.txt", [("a..b/..c/d...jpg", 0)])
        assert lists.read_list(tmp_path / "list.txt", 1).paths == ("a..b/..c/d...jpg",)

    def test_an_empty_file_an_absent_one_and_other_encodings(self, tmp_path):
        path = tmp_path / "list.txt"
        with pytest.raises(DataError, match=r"list\.txt cannot be read: No such file"):
            lists.read_list(path, 3)
        for nothing in (b"", b"\xef\xbb\xbf"):
            path.write_bytes(nothing)
            with pytest.raises(DataError, match=r"list\.txt is empty: expected lines"):
                lists.read_list(path, 3)
        path.write_bytes("a.jpg 0\nb\u00e9.jpg 1\n".encode("latin-1"))
        with pytest.raises(DataError, match=r"list\.txt:2: not UTF-8"):
            lists.read_list(path, 3)

    def test_a_class_without_image_matters_in_training_only(self, tmp_path):
        path = tmp_path / "list.txt"
        write(path, [("a.jpg", 0), ("b.jpg", 2)])
        assert len(lists.read_list(path, 3)) == 2
        with pytest.raises(DataError, match="class 1 of 0-2 has no training image; copy"):
            lists.read_list(path, 3, training=True)
        with pytest.raises(DataError, match=r"class 1 of 0-4 .* \(nor have 2 more classes\)"):
            lists.read_list(path, 5, training=True)

    def test_entries_of_two_lengths(self):
        with pytest.raises(UserError, match="2 image paths, but 1 labels"):
            lists.Entries(("a", "b"), (0,))

    def test_a_list_of_inats_size_takes_no_time(self, tmp_path):
        path = tmp_path / "list.txt"
        count = 437_513
        rows = [f"train_val2018/Aves/{k % 8142}/{k:032x}.jpg {k % 8142}\n" for k in range(count)]
        path.write_text("".join(rows))
        start = time.process_time()
        read = lists.read_list(path, 8142, training=True)
        assert time.process_time() - start < 5
        assert len(read) == count


class TestChecking:
    def test_a_whole_copy(self, tiny):
        assert list_images.check(SPEC, tiny) == list_images.check(SPEC, tiny, deep=True) == []
        read = [lists.read_list(tiny / file, 3) for file in (SPEC.train, SPEC.test)]
        list_images.require_images(tiny, *read)

    def test_missing_and_bad_lists_are_all_told(self, tiny):
        (tiny / SPEC.train).unlink()
        write(tiny / SPEC.test, [("val/e.jpg", 7)])
        write(tiny / SPEC.val, [("/e.jpg", 0)])
        problems = list_images.check(SPEC, tiny)
        patterns = (
            r"Tiny_train\.txt cannot be read",
            r"Tiny_test\.txt:1: the label",
            r"Tiny_val\.txt:1: '/e",
        )
        assert len(problems) == 3
        for problem, pattern in zip(problems, patterns, strict=True):
            assert re.search(pattern, problem)

    def test_absent_images_are_one_line(self, tiny):
        for name, _ in TRAIN:
            (tiny / name).unlink()
        (problem,) = list_images.check(SPEC, tiny)
        assert problem == (
            f"4 of 4 images looked for in {tiny} are absent (Tiny_train.txt): "
            "train/a 1.jpg, train/b.jpg, train/c.jpg, ...; copy the images to where the list says"
        )
        assert list_images.check(SPEC, tiny, deep=True) == [problem]
        with pytest.raises(DataError, match=r"4 of 4 images .* train/c\.jpg, \.\.\."):
            list_images.require_images(tiny, entries(TEST), entries(TRAIN))

    def test_the_sample_spans_the_list(self, tiny):
        rows = [(f"train/{k}.jpg", k % 3) for k in range(1001)]
        write(tiny / SPEC.train, rows)
        (problem,) = list_images.check(SPEC, tiny)
        assert problem.startswith("200 of 200 images")
        assert "train/0.jpg, train/5.jpg, train/10.jpg, ..." in problem
        assert list_images._spread(tuple(p for p, _ in rows))[-1] == "train/1000.jpg"
        (problem,) = list_images.check(SPEC, tiny, deep=True)
        assert problem.startswith("1001 of 1001 images")

    def test_an_image_that_is_both_trained_and_tested_on(self, tiny):
        write(tiny / SPEC.test, [*TEST, TRAIN[1]])
        (problem,) = list_images.check(SPEC, tiny)
        assert problem == (
            "1 image is in both Tiny_train.txt and Tiny_test.txt: train/b.jpg; copy the lists again"
        )

    def test_damaged_images_are_seen_by_the_deep_check_only(self, tiny):
        whole = (tiny / "val/f.jpg").read_bytes()
        (tiny / "val/f.jpg").write_bytes(whole[: len(whole) // 2])
        (tiny / "val/g.jpg").write_text("404")
        assert list_images.check(SPEC, tiny) == []
        assert list_images.check(SPEC, tiny, deep=True) == [
            f"2 images are damaged (Tiny_test.txt): val/f.jpg, val/g.jpg; copy again into {tiny}"
        ]


class TestFacts:
    def test_the_three_data_sets(self):
        for name, spec in lists.SPECS.items():
            assert lists.get(name) is spec
            assert sum(spec.group_sizes) == spec.classes
        assert [spec.classes for spec in lists.SPECS.values()] == [1000, 365, 8142]
        assert [spec.test_size for spec in lists.SPECS.values()] == [50_000, 36_500, 24_426]
        assert "Places_LT_val.txt is read only if there" in lists.layout(lists.SPECS["places-lt"])
        with pytest.raises(UserError, match="did you mean places-lt"):
            lists.get("places")

    def test_the_digest_covers_paths_labels_and_their_order(self, tiny):
        train, test = entries(TRAIN), entries(TEST)
        base = lists.observed(train, test)
        assert set(base) == {"train", "test"}
        assert lists.observed(train, test) == base
        changes = (
            [*TRAIN[:3], ("train/D.jpg", 2)],
            [*TRAIN[:3], ("train/d.jpg", 1)],
            TRAIN[::-1],
            TRAIN[:3],
        )
        digests = {lists.observed(entries(rows), test)["train"] for rows in changes}
        assert len(digests | {base["train"]}) == 5
        assert lists.observed(train, entries(TEST[:2]))["test"] != base["test"]

    def test_known_facts_decide_what_is_a_variant(self):
        assert not lists.variant(SPEC, entries(TRAIN), entries(TEST))
        assert lists.variant(SPEC, entries(TRAIN), entries(TEST[:2]))
        assert lists.variant(SPEC, entries([*TRAIN, ("x.jpg", 1)]), entries(TEST))
        moved = [*TRAIN[:3], ("x.jpg", 1), ("y.jpg", 1)]
        assert lists.variant(SPEC, entries(moved), entries(TEST))

    def test_groups_are_strict_at_both_ends_and_unknown_facts_do_not_count(self):
        def spec(*sizes):
            return lists.ListSpec(
                name="x", summary="", folders=(), train="", test="", val=None,
                classes=4, test_size=0, group_sizes=sizes,
            )  # fmt: skip

        counts = (101, 100, 20, 19)
        rows = [(f"{c}/{k}", c) for c, count in enumerate(counts) for k in range(count)]
        assert not lists.variant(spec(1, 2, 1), entries(rows), entries([]))
        assert lists.variant(spec(2, 1, 1), entries(rows), entries([]))
        assert lists.THRESHOLDS == (100, 20)
        assert lists.GROUP_RULE == "training images: head > 100, medium 20-100, tail < 20"

    def test_importing_the_description_imports_nothing_heavy(self):
        code = (
            "import sys, importlib.util as u; s = u.spec_from_file_location('lists', sys.argv[1]);"
            "m = u.module_from_spec(s); sys.modules['lists'] = m; s.loader.exec_module(m);"
            "print(sorted({'torch', 'numpy', 'PIL', 'scipy', 'sklearn'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, lists.__file__],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.stdout == "[]\n"


class TestRandomResizedCrop:
    @given(
        st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32),
        st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.1, 5), st.floats(0.1, 5),
    )  # fmt: skip
    def test_boxes_lie_inside_and_hold_a_pixel(self, width, height, seed, s1, s2, r1, r2):
        random.seed(seed)
        box = crop_box(width, height, tuple(sorted((s1, s2))), tuple(sorted((r1, r2))))
        left, top, right, bottom = box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height

    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 50), st.integers(0, 99))
    def test_size(self, width, height, size, seed):
        random.seed(seed)
        cropped = RandomResizedCrop(size)(noise(width, height))
        assert (cropped.size, cropped.mode) == ((size, size), "RGB")

    def test_area_is_uniform_aspect_log_uniform_and_places_spread(self):
        random.seed(0)
        boxes = np.array([crop_box(2000, 2000, (0.2, 0.5), (3 / 4, 4 / 3)) for _ in range(3000)])
        wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        area = wide * tall / 2000**2
        assert stats.kstest(area, "uniform", args=(0.2, 0.3)).pvalue > 0.01
        low, span = np.log(3 / 4), np.log(16 / 9)
        assert stats.kstest(np.log(wide / tall), "uniform", args=(low, span)).pvalue > 0.01
        for offset, room in ((boxes[:, 0], 2000 - wide), (boxes[:, 1], 2000 - tall)):
            assert stats.kstest(offset / room, "uniform").pvalue > 0.01

    def test_the_default_scale_reaches_from_8_percent_to_nearly_all(self):
        random.seed(1)
        crop = RandomResizedCrop(8)
        boxes = [crop_box(500, 500, crop.scale, crop.ratio) for _ in range(2000)]
        area = np.array([(r - x) * (b - y) / 500**2 for x, y, r, b in boxes])
        assert 0.079 < area.min() < 0.1
        assert 0.9 < area.max() <= 1

    @pytest.mark.parametrize(
        ("size", "box"),
        [
            ((1000, 10), (493, 0, 506, 10)),
            ((10, 1000), (0, 493, 10, 506)),
            # in range, but the area asked for never fits: all of it
            ((100, 100), (0, 0, 100, 100)),
        ],
    )
    def test_after_ten_tries_the_centre(self, monkeypatch, size, box):
        monkeypatch.setattr(random, "uniform", lambda low, high: max(low, high))
        assert crop_box(*size, (1.0, 1.0), (3 / 4, 4 / 3)) == box

    def test_pixels_outside_the_box_have_no_part(self):
        picture = Image.new("RGB", (60, 60), (200, 0, 0))
        picture.paste((0, 0, 200), (20, 20, 40, 40))
        crop = RandomResizedCrop(10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pictures, "crop_box", lambda *_: (20, 20, 40, 40))
            assert crop(picture).getcolors() == [(100, (0, 0, 200))]


class TestOtherTransforms:
    def test_flip(self):
        picture = noise(5, 3)
        assert np.array_equal(HorizontalFlip(1)(picture), np.array(picture)[:, ::-1])
        assert HorizontalFlip(0)(picture) is picture
        random.seed(0)
        flip = HorizontalFlip(0.3)
        count = sum(flip(picture) is not picture for _ in range(2000))
        assert count == pytest.approx(600, abs=80)

    def test_jitter_draws_within_bounds_in_every_order(self):
        random.seed(0)
        jitter = ColorJitter(brightness=0.4, contrast=0.2, saturation=1.5)
        draws = [jitter.draw() for _ in range(1000)]
        assert len({tuple(name for name, _ in drawn) for drawn in draws}) == 6
        bounds = {"brightness": (0.6, 1.4), "contrast": (0.8, 1.2), "saturation": (0, 2.5)}
        for name, (low, high) in bounds.items():
            factors = np.array([dict(drawn)[name] for drawn in draws])
            assert stats.kstest(factors, "uniform", args=(low, high - low)).pvalue > 0.01

    @pytest.mark.parametrize(
        ("name", "enhancer"),
        [
            ("brightness", ImageEnhance.Brightness),
            ("contrast", ImageEnhance.Contrast),
            ("saturation", ImageEnhance.Color),
        ],
    )
    def test_jitter_is_pils_enhancer(self, name, enhancer):
        picture = noise(7, 6)
        jitter = ColorJitter(**{name: 0.4})
        random.seed(3)
        ((drawn, factor),) = jitter.draw()
        random.seed(3)
        assert drawn == name
        assert np.array_equal(jitter(picture), enhancer(picture).enhance(factor))

    def test_jitter_of_nothing(self):
        picture = noise(4, 4)
        assert ColorJitter()(picture) is picture

    @pytest.mark.parametrize(
        ("size", "resized"),
        [((40, 30), (21, 16)), ((30, 40), (16, 21)), ((16, 16), (16, 16)), ((3, 7), (16, 37))],
    )
    def test_shorter_side(self, size, resized):
        assert ResizeShorter(16)(noise(*size)).size == resized

    @pytest.mark.parametrize(
        ("size", "crop", "corner"),
        [
            ((40, 30), 10, (15, 10)),
            ((41, 31), 10, (16, 10)),  # 15.5 and 10.5 to the even side
            ((13, 11), 11, (1, 0)),
        ],
    )
    def test_centre(self, size, crop, corner):
        picture = noise(*size)
        left, top = corner
        expected = np.array(picture)[top : top + crop, left : left + crop]
        assert np.array_equal(CenterCrop(crop)(picture), expected)

    def test_centre_of_a_smaller_image_is_padded_with_black(self):
        picture = Image.new("RGB", (3, 30), (255, 255, 255))
        cropped = np.array(CenterCrop(10)(picture))
        assert cropped.shape == (10, 10, 3)
        assert cropped[..., 0].any(axis=0).tolist() == [False] * 3 + [True] * 3 + [False] * 4

    BAD = {
        "size 0": (lambda: RandomResizedCrop(0), "RandomResizedCrop: size is 0, expected"),
        "float size": (lambda: CenterCrop(2.0), "CenterCrop: size is 2.0, expected an integer"),
        "bool size": (lambda: ResizeShorter(True), "ResizeShorter: size is True"),
        "scale": (lambda: RandomResizedCrop(4, scale=(0.5, 2)), "at most 1"),
        "zero scale": (lambda: RandomResizedCrop(4, scale=(0, 1)), r"scale is \(0, 1\)"),
        "ratio": (lambda: RandomResizedCrop(4, ratio=(2, 1)), r"ratio is \(2, 1\), expected"),
        "no range": (lambda: RandomResizedCrop(4, ratio=(1,)), r"ratio is \(1,\), expected"),
        "prob": (lambda: HorizontalFlip(1.5), "prob is 1.5, expected 0 to 1"),
        "jitter": (lambda: ColorJitter(contrast=-0.1), "contrast is -0.1, expected a number >= 0"),
        "nan": (lambda: ColorJitter(saturation=float("nan")), "saturation is nan"),
        "name": (
            lambda: build_transform({"type": "CentreCrop", "size": 4}),
            r"no image transform is called 'CentreCrop'; did you mean CenterCrop",
        ),
        "dotted name": (
            lambda: build_transform({"type": "nowhere.Crop"}),
            "no image transform is called 'nowhere.Crop'",
        ),
        "no name": (lambda: build_transform({"size": 4}), "no image transform is called None"),
        "argument": (
            lambda: build_transform({"type": "CenterCrop", "crop": 4}),
            "image transform CenterCrop: .*unexpected keyword argument 'crop'",
        ),
        "config": (
            lambda: build_transform({"type": "HorizontalFlip", "prob": 2}),
            "HorizontalFlip: prob is 2",
        ),
    }

    @pytest.mark.parametrize("bad", BAD)
    def test_wrong_arguments(self, bad):
        make, message = self.BAD[bad]
        with pytest.raises(UserError, match=message) as raised:
            make()
        one_line(raised.value)

    def test_names_are_ours_beside_mmcvs(self):
        pytest.importorskip("mmcv.transforms")
        from mmengine.registry import TRANSFORMS, DefaultScope

        assert TRANSFORMS.get("CenterCrop") is not CenterCrop
        for scope in ("mmengine", "mmseg"):
            with DefaultScope.overwrite_default_scope(scope):
                assert type(build_transform({"type": "CenterCrop", "size": 4})) is CenterCrop


AUGMENT = [
    {"type": "RandomResizedCrop", "size": 16},
    {"type": "HorizontalFlip", "prob": 0.5},
    {"type": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4},
]
CENTRE = [{"type": "ResizeShorter", "size": 20}, {"type": "CenterCrop", "size": 16}]


class TestDataset:
    def test_samples(self, tiny):
        data = ImageListDataset(tiny, "test", "tiny")
        assert (len(data), data.labels.tolist()) == (3, [0, 1, 2])
        sample = data[1]
        assert (sample["label"], sample["index"]) == (1, 1)
        assert sample["inputs"].dtype == torch.uint8
        expected = np.array(Image.open(tiny / "val/f.jpg"))
        assert np.array_equal(sample["inputs"].permute(1, 2, 0), expected)
        assert torch.equal(data[-2]["inputs"], sample["inputs"])
        with pytest.raises(IndexError):
            data[3]

    def test_splits_and_given_entries(self, tiny):
        assert ImageListDataset(tiny, "train", "tiny").labels.tolist() == [0, 0, 1, 2]
        with pytest.raises(DataError, match=r"Tiny_val\.txt cannot be read: No such file"):
            ImageListDataset(tiny, "val", "tiny")
        write(tiny / SPEC.val, TEST[:1])
        assert len(ImageListDataset(tiny, "val", "tiny")) == 1
        given = ImageListDataset(tiny, "test", "tiny", entries=entries(TRAIN[:1]))
        assert given[0]["inputs"].shape == (3, 30, 40)
        with pytest.raises(UserError, match=r"tiny has no split 'tset'; did you mean test"):
            ImageListDataset(tiny, "tset", "tiny")
        with pytest.raises(UserError, match=r"inat18 has no split 'val' of its own"):
            ImageListDataset(tiny, "val", "inat18")
        with pytest.raises(UserError, match="no image-list data set is called 'tinny'"):
            ImageListDataset(tiny, "test", "tinny")
        with pytest.raises(UserError, match="no image transform is called 'Crop'"):
            ImageListDataset(tiny, "test", "tiny", [{"type": "Crop"}])

    def test_grey_cmyk_and_palette_files_come_out_rgb(self, tiny):
        grey = np.arange(1200, dtype=np.uint32).reshape(30, 40) % 256
        Image.fromarray(grey.astype(np.uint8)).save(tiny / "val/e.jpg", "PNG")
        Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(tiny / "val/f.jpg", quality=95)
        Image.new("RGB", (40, 30), (10, 200, 30)).quantize(4).save(tiny / "val/g.jpg", "PNG")
        data = ImageListDataset(tiny, "test", "tiny")
        grey_, cmyk, palette = (data[k]["inputs"] for k in range(3))
        assert all(torch.equal(grey_[c], torch.from_numpy(grey.astype(np.uint8))) for c in range(3))
        assert cmyk.shape == (3, 30, 40)
        assert (cmyk[0] > 240).all() and (cmyk[1:] < 15).all()
        assert palette[:, 0, 0].tolist() == [10, 200, 30]

    @pytest.mark.parametrize("damage", ["truncated", "text", "empty", "absent"])
    def test_a_bad_file_is_named_when_it_is_asked_for(self, tiny, damage):
        path = tiny / "val/f.jpg"
        raw = path.read_bytes()
        path.unlink()
        if damage != "absent":
            path.write_bytes({"truncated": raw[:-300], "text": b"404", "empty": b""}[damage])
        data = ImageListDataset(tiny, "test", "tiny")
        data[0]
        with pytest.raises(DataError, match=r"val/f\.jpg cannot be read as an image: ") as raised:
            data[1]
        one_line(raised.value)

    def test_the_seed_of_random_decides_alone(self, tiny):
        data = ImageListDataset(tiny, "train", "tiny", AUGMENT)

        def sample(seed):
            random.seed(seed)
            return data[0]["inputs"]

        base = sample(5)
        np.random.random()
        torch.rand(1)
        states = np.random.get_state(), torch.get_rng_state()
        assert torch.equal(sample(5), base)
        assert not torch.equal(sample(6), base)
        assert np.array_equal(np.random.get_state()[1], states[0][1])
        assert np.random.get_state()[2] == states[0][2]
        assert torch.equal(torch.get_rng_state(), states[1])

    def test_workers_change_nothing(self, tiny):
        def batches(workers, skip=0):
            inner = dict(
                type="ImageListDataset", root=tiny, split="train", spec="tiny", transforms=AUGMENT
            )
            data = SeededDataset(inner, seed=3)
            sampler = PositionSampler(dict(type=InfiniteSampler, shuffle=True), data, seed=3)
            sampler.skip(skip)
            loader = DataLoader(
                data, batch_size=3, sampler=sampler, num_workers=workers, collate_fn=collate_images
            )
            return [batch for batch, _ in zip(loader, range(4), strict=False)]

        alone, two, resumed = batches(0), batches(2), batches(0, skip=6)
        for one, other in [*zip(alone, two, strict=True), *zip(alone[2:], resumed, strict=False)]:
            assert all(torch.equal(one[key], other[key]) for key in ("inputs", "label", "index"))
        # augmentation is new at every position
        assert (
            len({batch["inputs"][k].numpy().tobytes() for batch in alone for k in range(3)}) == 12
        )


class TestCollating:
    def test_shapes_and_types(self, tiny):
        data = ImageListDataset(tiny, "test", "tiny", CENTRE)
        batch = collate_images([data[2], data[0]])
        assert batch["inputs"].shape == (2, 3, 16, 16) and batch["inputs"].dtype == torch.uint8
        assert batch["label"].tolist() == batch["index"].tolist() == [2, 0]
        assert batch["label"].dtype == batch["index"].dtype == torch.int64

    def test_images_of_two_sizes(self, tiny):
        noise(20, 30).save(tiny / "val/f.jpg")
        data = ImageListDataset(tiny, "test", "tiny")
        with pytest.raises(UserError, match="images of 20x30 and 40x30 do not fit into one batch"):
            collate_images([data[0], data[1]])

    def test_it_is_in_mmengines_registry(self):
        from mmengine.registry import DATASETS, FUNCTIONS

        assert FUNCTIONS.get("collate_images") is collate_images
        assert DATASETS.get("ImageListDataset") is ImageListDataset


@pytest.mark.parametrize(
    ("spec", "least"), [("imagenet-lt", 0.2), ("places-lt", 0.2), ("inat18", 0.08)]
)
def test_views_for_adaptation_are_cropped_as_released(spec, least):
    crop, *_ = list_views(spec)
    assert crop == {"type": "RandomResizedCrop", "size": 224, "scale": [least, 1.0]}
    # torchvision's default is that of the transform here, too
    assert spec != "inat18" or list(RandomResizedCrop(224).scale) == crop["scale"]
