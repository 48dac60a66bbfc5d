"""The embedded digits under a training of this package's own."""

from tasks.vision.data.sources import Source
from tasks.vision.image_sets import DATASETS
from tasks.vision.protocols import image_protocol
from tasks.vision.recipes.small_images import SmallRecipe

SOURCE = Source("digits")
THIN = image_protocol(
    "digits:thin",
    DATASETS[SOURCE.name],
    SOURCE,
    SmallRecipe(depth=8, width=4, epochs=10, batch=32, crop=1, flip=False, lr=0.05),
    summary="embedded digits, a thin network",
    seconds=2.0,
)
PROTOCOLS = (THIN,)
