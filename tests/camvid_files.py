"""CamVid for tests: the real one where it lies, and a tiny one of nine frames."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.vision.data import camvid

COUNTS = {"train": 4, "val": 2, "test": 3}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A whole CamVid of nine frames of 480x360; the manifest names them."""
    root = tmp_path / "camvid"
    generator = np.random.default_rng(0)
    names = {split: [f"v_{split}{k}" for k in range(count)] for split, count in COUNTS.items()}
    for split, frames in names.items():
        for frame in frames:
            image = np.full((360, 480, 3), generator.integers(256), dtype=np.uint8)
            label = np.full((360, 480), generator.integers(11), dtype=np.uint8)
            label[:2, :2] = camvid.VOID
            save(root / split / f"{frame}.png", image)
            save(root / f"{split}annot" / f"{frame}.png", label)
    manifest = {
        "train": {"ids": names["train"][:3]},
        "val": {"ids": names["train"][3:]},
        "test": {"ids": names["test"]},
    }
    monkeypatch.setattr(camvid, "COUNTS", COUNTS)
    monkeypatch.setattr(camvid, "tracked_manifest", lambda: manifest)
    return root


DATA = Path(os.environ.get("LONGTAIL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
real = pytest.mark.skipif(
    not (DATA / "camvid").is_dir(),
    reason=f"no CamVid in {DATA}: set LONGTAIL_TEST_DATA to a folder that holds camvid/",
)
