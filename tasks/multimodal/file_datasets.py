"""Recordings and pictures as mmengine data: samples of several modalities, opened when they are asked for.

A modality is read by a reader of its own (`ReadSpectrogram`, `ReadFrames`, `ReadView`), whose random numbers come from
Python's `random`, seeded for each sample and modality: so they depend neither on the number of data workers, nor on where a
run was resumed, nor on which other modalities there are. This is a torch module.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS, FUNCTIONS, TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset

from suite.base.errors import UserError
from suite.engine.data import mixed_seed
from tasks.multimodal.data.media import frames, place_of_frame, read_recording, view_file
from tasks.multimodal.data.sources import ModalitySource, load
from tasks.multimodal.data.spectrogram import Spectrum, log_spectrogram, waveform
from tasks.vision.augment.pictures import build_transform
from tasks.vision.data.carving import chosen_by_class, part_of
from tasks.vision.data.read_image import read_image

Reader = Callable[[Path, str], Tensor]
"""(folder of the data set, entry of `Modalities.inputs`) -> one sample's modality."""


@TRANSFORMS.register_module()
class ReadSpectrogram:
    """A recording as a log-magnitude spectrogram, float32 (1, frequencies, windows). Nothing is drawn.

    Args:
        spectrum: keyword arguments of a `Spectrum`.
    """

    def __init__(self, **spectrum: Any) -> None:
        self.spectrum = Spectrum(**spectrum)

    def __call__(self, root: Path, entry: str) -> Tensor:
        samples = waveform(read_recording(root, entry), self.spectrum)
        return torch.from_numpy(log_spectrogram(samples, self.spectrum)).unsqueeze(0)


@TRANSFORMS.register_module()
class ReadFrames:
    """Frames of a folder, uint8 (T, 3, H, W) RGB, in order: one of each of T equally long segments (`place_of_frame`).

    Args:
        count: T.
        drawn: whether a segment's frame is drawn at random; else it is the middle one.
        transforms: configs of transforms (`tasks.vision.augment.pictures`), applied in order to each frame by itself.
    """

    def __init__(
        self, count: int, drawn: bool = False, transforms: Sequence[dict[str, Any]] = ()
    ) -> None:
        if count < 1:
            raise UserError(f"ReadFrames: count is {count}, expected 1 or more")
        self.count, self.drawn = count, drawn
        self._transforms = [build_transform(transform) for transform in transforms]

    def __call__(self, root: Path, entry: str) -> Tensor:
        found = frames(root, entry)
        chosen = []
        for segment in range(self.count):
            share = random.random() if self.drawn else 0.5
            place = place_of_frame(len(found), segment, self.count, share)
            chosen.append(_pixels(found[place], self._transforms))
        return torch.stack(chosen)


@TRANSFORMS.register_module()
class ReadView:
    """An object on a turntable, uint8 (3, H, W) RGB.

    Args:
        first, beyond: the place is drawn from first to beyond - 1.
        transforms: as of `ReadFrames`.
    """

    def __init__(self, first: int, beyond: int, transforms: Sequence[dict[str, Any]] = ()) -> None:
        if not 0 <= first < beyond:
            raise UserError(f"ReadView: no place from {first} to before {beyond}")
        self.first, self.beyond = first, beyond
        self._transforms = [build_transform(transform) for transform in transforms]

    def __call__(self, root: Path, entry: str) -> Tensor:
        view = random.randrange(self.first, self.beyond)
        return _pixels(view_file(root, entry, view), self._transforms)


def _pixels(path: Path, transforms: Sequence[Callable[[Any], Any]]) -> Tensor:
    image = read_image(path)
    for transform in transforms:
        image = transform(image)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@DATASETS.register_module()
class ModalityFiles(Dataset[dict[str, Any]]):
    """One split of a data set of files: an absent or damaged one raises DataError, naming it.

    Sample i is `inputs` {modality: tensor}, `label` int, `index` i.

    Args:
        source: keyword arguments of a `ModalitySource`.
        root: folder of the data set, as `DataSet.find` gave it.
        split: `train` or `test`.
        readers: modality -> config of its reader, for all modalities.
        carved: `part` (`train` or `val`) of the split that is taken, and arguments of the `Carving`; None for all.
    """

    def __init__(
        self,
        source: dict[str, Any],
        root: str | Path,
        split: str,
        readers: Mapping[str, dict[str, Any]],
        carved: dict[str, Any] | None = None,
    ) -> None:
        samples = getattr(load(ModalitySource(**source), Path(root)), split)
        if carved is not None:
            every = samples.labels.tolist()
            samples = samples.take(part_of(carved, lambda how: chosen_by_class(every, how)))
        if set(readers) != set(samples.inputs):
            raise ValueError(
                f"readers of {sorted(readers)} for modalities {sorted(samples.inputs)}"
            )
        self.root = Path(root)
        self._labels = torch.from_numpy(samples.labels)
        # one array each: touching many str objects would copy them into every data worker
        self._entries = {
            name: np.array([entry.encode() for entry in entries])
            for name, entries in samples.inputs.items()
        }
        self._readers: dict[str, Reader] = {
            name: TRANSFORMS.build(readers[name]) for name in samples.inputs
        }
        # mmengine asks for it, and warns of every data set without
        self.metainfo: dict[str, Any] = {}

    @property
    def labels(self) -> Tensor:
        """Class ids, int64 (N,)."""
        return self._labels

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        inputs = {}
        for name, reader in self._readers.items():
            with _drawing_for(name):
                inputs[name] = reader(self.root, self._entries[name][index].decode())
        return {"inputs": inputs, "label": int(self._labels[index]), "index": index}

    def __len__(self) -> int:
        return len(self._labels)


@contextmanager
def _drawing_for(name: str) -> Iterator[None]:
    """Python's random numbers follow from the sample's seed, which the harness has given to torch, and the modality's name,
    as those of `tasks.multimodal.augment.modality_generator` do."""
    state = random.getstate()
    random.seed(mixed_seed(torch.initial_seed(), zlib.crc32(name.encode())))
    try:
        yield
    finally:
        random.setstate(state)


@FUNCTIONS.register_module()
def collate_modalities(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Samples to a batch: `inputs` {modality: (B, ...)}, `label` int64 (B,), `index` int64 (B,).

    Raises UserError where the samples of a modality differ in size.
    """
    inputs = {}
    for name in batch[0]["inputs"]:
        values = [sample["inputs"][name] for sample in batch]
        sizes = sorted({tuple(value.shape) for value in values})
        if len(sizes) > 1:
            shown = " and ".join("x".join(map(str, size)) for size in sizes[:2])
            raise UserError(
                f"samples of {name} of {shown} do not fit into one batch: end its transforms with RandomResizedCrop or "
                "CenterCrop"
            )
        inputs[name] = torch.stack(values)
    return {
        "inputs": inputs,
        "label": torch.tensor([sample["label"] for sample in batch], dtype=torch.int64),
        "index": torch.tensor([sample["index"] for sample in batch], dtype=torch.int64),
    }
