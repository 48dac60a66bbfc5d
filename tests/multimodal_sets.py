"""Feature sets for tests: the real ones where they lie, and small ones of one's own."""

import numpy as np
import pytest
from camvid_files import DATA

from tasks.multimodal.data.feature_sets import FeatureSet

real = pytest.mark.skipif(
    not (DATA / "two_view/Scene-15.npz").is_file() or not (DATA / "av_digits").is_dir(),
    reason=f"no feature sets in {DATA}: set LONGTAIL_TEST_DATA to the folder that holds two_view/ and av_digits/",
)


def feature_set(name="mine", classes=3, lacks="refuse", **shapes):
    """A set of vectors `a` and `b`, or of other shapes."""
    return FeatureSet(
        name=name,
        summary="a set of one's own",
        files=(f"{name}.npz",),
        classes=tuple(f"class {c}" for c in range(classes)),
        shapes=shapes or {"a": (4,), "b": (3,)},
        lacks=lacks,
        known={},
    )


def arrays(features, each=10, seed=0):
    """`each` samples of every class, class after class: vectors float32, pictures uint8."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(features.classes)), each)
    made = {"y": labels}
    for name, shape in features.shapes.items():
        if len(shape) == 1:
            values = draw.normal(size=(len(labels), *shape)) + labels[:, None]
            made[name] = values.astype(np.float32)
        else:
            made[name] = draw.integers(0, 256, (len(labels), *shape), np.uint8)
    return made


def write(folder, features, compress=False, as_folder=False, **changed):
    """A copy of `arrays`, some of them changed, or left out where they are None; its place."""
    made = {**arrays(features), **changed}
    made = {name: values for name, values in made.items() if values is not None}
    folder.mkdir(parents=True, exist_ok=True)
    if as_folder:
        (folder / features.name).mkdir(exist_ok=True)
        for name, values in made.items():
            np.save(folder / features.name / f"{name}.npy", values)
        return folder / features.name
    path = folder / features.files[0]
    (np.savez_compressed if compress else np.savez)(path, **made)
    return path
