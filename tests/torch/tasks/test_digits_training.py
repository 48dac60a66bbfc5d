"""The digits: samples, and every recipe built."""

import numpy as np
import pytest

from tasks.longtail_seg import recipes
from tasks.vision.data import digit_scenes as digits


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    digits.load(folder)
    return folder


@pytest.fixture(scope="module")
def arrays(cache):
    return digits.load(cache)


def test_dataset_samples(cache, arrays):
    pytest.importorskip("mmseg")
    from tasks.vision.data.segmentation import ArraySegDataset

    data = ArraySegDataset(cache, "test", limit=8)
    assert len(data) == 8
    sample = data[3]
    assert np.array_equal(sample["img"][:, :, ::-1], arrays["test_images"][3])
    assert np.array_equal(sample["gt_seg_map"], arrays["test_labels"][3])
    sample["gt_seg_map"][:] = 0  # a transform writing in place
    sample["img"][:] = 0
    assert np.array_equal(data[3]["gt_seg_map"], arrays["test_labels"][3])
    pixels, images = data.label_statistics()
    assert pixels.sum() == 8 * 64 * 64
    assert images[digits.BACKGROUND] == 8


@pytest.mark.parametrize(
    "recipe",
    # those of the large data sets are built in test_large_seg, on the meta device
    [name for name in recipes.RECIPES if name.partition(":")[0] not in recipes.SCHEDULES],
)
def test_every_recipe_builds_and_scores_every_class(recipe):
    torch = pytest.importorskip("torch")
    pytest.importorskip("mmseg")
    from mmengine.registry import init_default_scope
    from mmengine.utils import import_modules_from_strings
    from mmseg.registry import DATASETS, MODELS

    config = recipes.base_config(recipe, {"cache_dir": "-", "data_root": "-"})
    import_modules_from_strings(**config["custom_imports"])
    init_default_scope("mmseg")
    dataset = DATASETS.get(config["train_dataloader"]["dataset"]["type"])
    model = MODELS.build(config["model"])
    model.eval()
    with torch.no_grad():
        scores = model(torch.zeros(1, 3, 64, 64), mode="tensor")
    assert scores.shape[1] == len(dataset.METAINFO["classes"])
