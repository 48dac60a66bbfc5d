"""How long `data check` takes for copies of the official sizes.

    python benchmarks/data_check.py [--distinct 40] [DATA_SET ...]

Makes a copy with the official numbers of pictures in a temporary folder: `--distinct` different pictures of
the data set's usual size (smooth shapes under grain, near the official files' bytes a pixel), the rest hard
links to them. So every file is opened and decoded, but the disk is not waited for. Beside the whole check
stands what decoding the same number of pictures and labels takes with Pillow alone, on one core.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from tasks.vision.data import ade20k, cityscapes, coco_stuff, official, survey

SPECS = {spec.name: spec for spec in (ade20k.SPEC, cityscapes.SPEC, coco_stuff.SPEC)}
SIZES = {"ade20k": (683, 512), "cityscapes": (2048, 1024), "coco-stuff164k": (640, 480)}
"""Usual (width, height)."""


def picture(random: np.random.Generator, width: int, height: int) -> Image.Image:
    coarse = random.integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = random.normal(0, 4, (height, width, 3))
    return Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))


def label(random: np.random.Generator, width: int, height: int, ids: list[int]) -> Image.Image:
    coarse = random.choice(np.array(ids, np.uint8), (height // 64, width // 64))
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)


def build(spec: official.Spec, folder: Path, distinct: int) -> list[Path]:
    """The copy; paths of its different files."""
    random = np.random.default_rng(0)
    form = spec.labels[0]
    made = []
    for k in range(distinct):
        for kind, suffix, shown in (
            ("image", spec.image_suffix, picture(random, *SIZES[spec.name])),
            ("label", form.suffix, label(random, *SIZES[spec.name], sorted(form.table))),
        ):
            path = folder / "distinct" / f"{kind}-{k}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            shown.save(path)
            made.append(path)
    for split, part in spec.splits.items():
        for k in range(part.count):
            key = f"city_{k % 18}/{split}_{k}" if spec.nested else f"{split}_{k}"
            for source, where, suffix in (
                (made[2 * (k % distinct)], part.images, spec.image_suffix),
                (made[2 * (k % distinct) + 1], part.labels, form.suffix),
            ):
                path = folder / where / f"{key}{suffix}"
                if k < 18:
                    path.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, path)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="DATA_SET", default=[], help=", ".join(SPECS))
    parser.add_argument("--distinct", type=int, default=40)
    options = parser.parse_args()
    for name in options.names or SPECS:
        spec = SPECS[name]
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "data"
            files = build(spec, folder, options.distinct)
            count = sum(part.count for part in spec.splits.values())
            alone = []
            for path in files:
                began = time.perf_counter()
                Image.open(path).load()
                alone.append(time.perf_counter() - began)
            mean = statistics.fmean(path.stat().st_size for path in files[::2])
            times = []
            for deep in (False, True):
                began = time.perf_counter()
                problems = survey.check(spec, folder, deep, Path(temporary) / "cache")
                times.append(time.perf_counter() - began)
                assert problems == [], problems
        print(
            f"{name}: {count:,} pictures of {'x'.join(map(str, SIZES[name]))}, {mean / 1e3:.0f} kB each: "
            f"names {times[0]:.1f} s, everything {times[1]:.0f} s; decoding alone on one core "
            f"{2 * count * statistics.fmean(alone):.0f} s"
        )


if __name__ == "__main__":
    main()
