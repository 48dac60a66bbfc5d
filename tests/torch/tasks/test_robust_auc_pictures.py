"""The page of robustness draws the images that were tested."""

import numpy as np
import pytest
import strangers

from suite.base.settings import cache_dir
from tasks.robust_auc import pictures
from tasks.robust_auc.datasets import BinaryImages


@pytest.mark.parametrize("name", ["smoke", "quick"])
def test_pictures_are_the_tested_images(name):
    found = strangers.catalog()
    under = found.protocol(found.task("robust-auc"), name)
    config, _ = under.build(cache_dir())
    corrupted = "corruption=gaussian_noise,severity=5"
    made = pictures.read(under, corrupted, None)
    clean, other = (
        BinaryImages(**{k: v for k, v in loader["dataset"].items() if k != "type"})
        for loader in (config["test_dataloader"], config["prediction_dataloaders"][corrupted])
    )
    every = list(range(len(clean)))
    for tested, shown in ((clean, made.clean), (other, made.corrupted)):
        batch = tested.__getitems__(every)
        np.testing.assert_array_equal(batch["inputs"].cpu().numpy(), shown)
        assert batch["label"][:, 0].int().tolist() == made.label.tolist()
