"""CamVid as the data set that a training reads."""

import numpy as np
import pytest
from camvid_files import (
    save,
    tiny,  # noqa: F401
)

from suite.base.errors import DataError


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


class TestDataset:
    @pytest.fixture(autouse=True)
    def _needs_mmseg(self):
        pytest.importorskip("mmseg")

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_samples(self, tiny, in_memory):
        from tasks.vision.data.segmentation import CamVidDataset

        image = np.arange(360 * 480 * 3, dtype=np.uint32).reshape(360, 480, 3) % 251
        save(tiny / "test" / "v_test1.png", image.astype(np.uint8))
        data = CamVidDataset(tiny.parent, "test", in_memory=in_memory)
        assert len(data) == 3
        sample = data[1]
        assert sample["sample_id"] == "v_test1"
        assert np.array_equal(sample["img"], image[:, :, ::-1])
        assert np.all(sample["gt_seg_map"][:2, :2] == 255)
        assert set(np.unique(sample["gt_seg_map"])) <= {*range(11), 255}

    def test_half_resolution(self, tiny):
        from tasks.vision.data.segmentation import CamVidDataset

        rows = np.zeros((360, 480, 3), np.uint8)
        rows[::2] = 3
        save(tiny / "train" / "v_train0.png", rows)
        label = np.tile(np.array([[4, 5], [6, 7]], np.uint8), (180, 240))
        save(tiny / "trainannot" / "v_train0.png", label)
        sample = CamVidDataset(tiny, "train", scale=0.5)[0]
        assert sample["img"].shape == (180, 240, 3)
        assert np.all(sample["img"] == 2)  # (3 + 3 + 0 + 0) / 4, rounded half up
        assert np.all(sample["gt_seg_map"] == 4)
        with pytest.raises(ValueError, match=r"scale is 0\.25"):
            CamVidDataset(tiny, "train", scale=0.25)

    def test_label_statistics(self, tiny):
        from tasks.vision.data.segmentation import CamVidDataset

        pixels, images = CamVidDataset(tiny, "train", scale=0.5).label_statistics()
        assert pixels.sum() == 3 * (180 * 240 - 1)
        assert images.sum() == 3

    def test_a_damaged_file_stops_construction_or_access(self, tiny):
        from tasks.vision.data.segmentation import CamVidDataset

        truncate(tiny / "test" / "v_test2.png")
        with pytest.raises(DataError, match="v_test2"):
            CamVidDataset(tiny, "test")
        data = CamVidDataset(tiny, "test", in_memory=False)
        data[0]
        with pytest.raises(DataError, match="v_test2"):
            data[2]

    def test_frames_given_by_the_caller(self, tiny):
        from tasks.vision.data.segmentation import CamVidDataset

        assert len(CamVidDataset(tiny, "test", ids=["v_test0"])) == 1
        with pytest.raises(DataError, match="frame x has no label"):
            CamVidDataset(tiny, "test", ids=["x"])
