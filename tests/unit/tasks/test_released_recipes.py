"""Settings of recipes as the authors' released code has them."""

import pytest

from tasks.longtail_cls import protocols
from tasks.vision.data.sources import Source
from tasks.vision.recipes.image_files import ListRecipe, image_lists
from tasks.vision.recipes.small_images import small_images


def normalisation(spec):
    recipe = ListRecipe(
        spec=spec, images=100, classes=10, depth=50, batch=8, lr=0.1, weight_decay=0.0, epochs=1
    )
    settings = image_lists(recipe, "")["model"]["data_preprocessor"]
    return [pytest.approx([level / 255 for level in settings[key]]) for key in ("mean", "std")]


def test_inaturalist_is_normalised_as_by_sade():
    assert normalisation("inat18") == [[0.466, 0.471, 0.380], [0.195, 0.194, 0.192]]


@pytest.mark.parametrize("spec", ["imagenet-lt", "places-lt"])
def test_the_others_are_normalised_as_imagenet(spec):
    assert normalisation(spec) == [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]


def test_the_unified_study_augments_by_its_own_script():
    """Crop, flip, AutoAugment as the PIL script has it, and Cutout before normalising, so black."""
    config = small_images(protocols._R32_400, Source("cifar100"), "")
    assert config["train_dataloader"]["dataset"]["transforms"] == [
        {"type": "BatchCrop", "padding": 4},
        {"type": "BatchFlip", "prob": 0.5},
        {"type": "BatchAutoAugment", "policy": "cifar10", "form": "released"},
        {"type": "BatchCutout", "size": 16, "fill": 0.0},
    ]
