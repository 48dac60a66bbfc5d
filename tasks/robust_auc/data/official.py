"""The official corrupted test sets by name. Read as they are, with nothing unpickled and only the chosen images in memory."""

from __future__ import annotations

from collections.abc import Mapping

from suite.base.errors import UserError, did_you_mean
from tasks.robust_auc.data.cifar_c import CIFAR10_C, CIFAR100_C
from tasks.robust_auc.data.mnist_c import MNIST_C
from tasks.robust_auc.data.release import Release
from tasks.robust_auc.data.tiny_imagenet_c import TINY_IMAGENET_C

RELEASES: Mapping[str, Release] = {
    release.name: release for release in (CIFAR10_C, CIFAR100_C, MNIST_C, TINY_IMAGENET_C)
}


def get(name: str) -> Release:
    """Raises UserError with the nearest names for an unknown one."""
    if name not in RELEASES:
        raise UserError(f"no official corrupted set {name!r}{did_you_mean(name, RELEASES)}")
    return RELEASES[name]
