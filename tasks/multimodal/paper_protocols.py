"""The protocols of the papers' data sets, for a GPU: CREMA-D, AVE and ModelNet40 with a ResNet-18 a modality, MOSI, MOSEI and
CH-SIMS with late fusion. Nothing heavy is imported.

Batch, rate and weight decay are those of ReconBoost's released code, networks start from random weights as there. 100 epochs
for everybody are OGM-GE's (ReconBoost trains over 8,000); the cosine to 0 is ours, in place of a schedule for each data set.
Validation lists are left out, the last iteration is the model: every release takes its best epoch on the test set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from suite.define.protocols import Declared
from tasks.multimodal.data import ave, crema_d, modelnet40, sentiment
from tasks.multimodal.data.sources import Modalities, ModalitySource
from tasks.multimodal.data.spectrogram import AVE, CREMA_D, Spectrum
from tasks.multimodal.families import Family, Samples, Streams, Training
from tasks.multimodal.recipes import Stream
from tasks.vision.recipes.base import Config
from tasks.vision.recipes.image_files import IMAGENET_MEAN, IMAGENET_STD, centred, resnet

EPOCHS = 100
_HOUR = 3600.0
_FILES = ("tasks.multimodal.file_datasets", "tasks.multimodal.file_networks", "mmseg.models")
_AUGMENT: list[Config] = [
    {"type": "RandomResizedCrop", "size": 224},
    {"type": "HorizontalFlip", "prob": 0.5},
]
_WORKERS = {"num_workers": 8, "persistent_workers": True, "pin_memory": True}
Readers = Mapping[str, Config]


def _resnet18(channels: int, statistics: Config | None) -> Stream:
    encoder = {"type": "PictureEncoder", "backbone": {**resnet(18), "in_channels": channels}}
    return Stream(encoder=encoder, width=512, statistics=statistics)


def _spectrograms() -> Stream:
    """Logarithms as they are: the released code does not standardise them."""
    return _resnet18(1, None)


def _pictures() -> Stream:
    return _resnet18(3, {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)})


def _streams(streams: Mapping[str, Stream]) -> Streams:
    """Nothing of them hangs on the data."""

    def made(train: Modalities | None) -> Mapping[str, Stream]:
        return streams

    return made


def _files(training: Readers, testing: Readers) -> Samples:
    def samples(source: ModalitySource, root: str, split: str, trains: bool) -> Config:
        return {
            "type": "ModalityFiles",
            "source": source.config(),
            "root": root,
            "split": split,
            "readers": dict(training if trains else testing),
        }

    return samples


def _mapped(source: ModalitySource, root: str, split: str, trains: bool) -> Config:
    return {"type": "MemoryModalities", "source": source.config(), "root": root, "split": split}


def _training(samples: int, batch: int, **more: Any) -> Training:
    """`EPOCHS` of ceil(samples / batch) iterations."""
    iterations = EPOCHS * math.ceil(samples / batch)
    return Training(iterations=iterations, batch=batch, lr=0.01, weight_decay=5e-4, **more)


def _heard_and_seen(spectrum: Spectrum, frames: int) -> Samples:
    sound = {"type": "ReadSpectrogram", **spectrum.config()}
    seen = {"type": "ReadFrames", "count": frames}
    return _files(
        {"audio": sound, "visual": {**seen, "drawn": True, "transforms": _AUGMENT}},
        {"audio": sound, "visual": {**seen, "transforms": centred()}},
    )


_BOTH = {"audio": _spectrograms(), "visual": _pictures()}
_FRAMES = "shorter side 256, centre 224"
_FIELDS = {"threads": 8}


def _crema_d(name: str, data: str, summary: str) -> Family:
    return Family(
        name=name,
        data=data,
        streams=_streams(_BOTH),
        samples=_heard_and_seen(CREMA_D, 1),
        # of the released list's clips; the split by actor has as many iterations
        training=_training(sum(crema_d.TRAIN), 64, eval_batch=64, bf16=True),
        collate="collate_modalities",
        imports=(*_FILES, crema_d.__name__),
        test=f"whole test set, the first 3 s, the middle frame, {_FRAMES}",
        backbone="resnet18 a modality",
        augmentation="a frame drawn, random resized crop 224, flip; spectrograms as they are",
        summary=summary,
        seconds=2 * _HOUR,
        loaders=_WORKERS,
        fields=_FIELDS,
    )


def _view(first: int, beyond: int) -> Config:
    # rendered objects lie alike in all pictures: the place is the augmentation
    chain = [{"type": "ResizeShorter", "size": 224}, {"type": "CenterCrop", "size": 224}]
    return {"type": "ReadView", "first": first, "beyond": beyond, "transforms": chain}


def _sentiment(name: str, seconds: float) -> Family:
    spec = sentiment.SPECS[name]
    streams = {
        modality: Stream(
            encoder={"type": "SequenceEncoder", "in_features": features, "width": 128}, width=128
        )
        for modality, features in zip(sentiment.MODALITIES, spec.widths, strict=True)
    }
    return Family(
        name=f"{name}:lf",
        data=name,
        streams=_streams(streams),
        samples=_mapped,
        training=_training(spec.sizes[0], 64, eval_batch=256),
        collate="whole_batch",
        imports=(
            "tasks.multimodal.datasets",
            "tasks.multimodal.file_networks",
            sentiment.__name__,
        ),
        test="whole test set, all steps of the features",
        backbone="perceptron of each step, mean over the steps, 128 a modality",
        augmentation="none",
        summary=f"{spec.title}, late fusion of text, sound and vision, {EPOCHS} epochs",
        seconds=seconds,
    )


_FAMILIES = (
    _crema_d(
        "crema-d:r18",
        crema_d.NAME,
        f"CREMA-D, the released lists (all 91 actors train and test), ResNet-18, {EPOCHS} epochs",
    ),
    _crema_d(
        "crema-d:r18,by-actor",
        crema_d.BY_ACTOR,
        "CREMA-D, no actor both trains and tests, ResNet-18, as many iterations",
    ),
    Family(
        name="ave:r18",
        data=ave.NAME,
        streams=_streams(_BOTH),
        samples=_heard_and_seen(AVE, 3),
        training=_training(ave.SIZES["train"], 64, eval_batch=64, bf16=True),
        collate="collate_modalities",
        imports=(*_FILES, ave.__name__),
        test=f"whole test list, the event repeated to 10 s, the middle frames of three thirds, {_FRAMES}",
        backbone="resnet18 a modality",
        augmentation="a frame of each third drawn, random resized crop 224, flip; spectrograms as they are",
        summary=f"AVE, ResNet-18, three frames, {EPOCHS} epochs",
        seconds=2 * _HOUR,
        loaders=_WORKERS,
        fields=_FIELDS,
    ),
    Family(
        name="modelnet40:2view",
        data=modelnet40.NAME,
        streams=_streams({name: _pictures() for name in modelnet40.MODALITIES}),
        samples=_files(
            {name: _view(*views) for name, views in modelnet40.VIEWS.items()},
            {name: _view(view, view + 1) for name, view in modelnet40.TEST_VIEWS.items()},
        ),
        training=_training(modelnet40.SIZES["train"], 48, eval_batch=96, bf16=True),
        collate="collate_modalities",
        imports=(*_FILES, modelnet40.__name__),
        test="whole test set, views 45 and 135, 224",
        backbone="resnet18 a modality",
        augmentation="views drawn from 0-89 and 90-179",
        summary=f"ModelNet40, two views of an object, ResNet-18, {EPOCHS} epochs",
        seconds=3 * _HOUR,
        loaders=_WORKERS,
        fields=_FIELDS,
    ),
    _sentiment("mosi", 120.0),
    _sentiment("mosei", 2 * _HOUR),
    _sentiment("sims", 300.0),
)

DECLARED: Sequence[Declared] = tuple(
    declared for family in _FAMILIES for declared in family.declared()
)
"""The protocols, and the long-tailed variants of those whose published class counts are known."""
