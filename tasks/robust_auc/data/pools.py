"""What binary data sets are made of: multi-class data sets with a training and a test part, and how parts of them are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    Array = np.ndarray[Any, np.dtype[Any]]

Places = Sequence[Sequence[int]]
"""For each class the places of the images that are taken: ascending positions among the images of that class, in the order
of the copy."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """Images of a copy, in their own classes.

    Attributes:
        train: class after class, each in the order of its places.
        test: in the order of the copy's test set.
        test_places: int64 (M,), where these lie in the copy's whole test set; ascending.
        released_labels: int64 (T,), classes of that whole test set in its order.
        released_files: `CLASS/NAME`, T names of its image files; () where it is none of files.
        observed: digests of this copy, name -> hex.
        variant: whether these images are others than the split names.
    """

    train: ImageArrays
    test: ImageArrays
    test_places: Array
    released_labels: Array
    released_files: tuple[str, ...] = ()
    observed: Mapping[str, str] = field(default_factory=dict)
    variant: bool = False


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A multi-class data set of which binary ones are made.

    Attributes:
        name: of the data set.
        summary: one line.
        layout: what is expected of a copy, one line.
        classes: names in label order.
        edge: pixels along a side.
        mean, std: per channel, of pixels in [0, 1].
        train_sizes, test_sizes: images of each class in the published data.
        find: data root -> place of the copy. Raises DataError.
        check, differs: as of `DataSet`.
        read: (place, training places, test places) -> these images. Raises DataError for a damaged copy.
        held: place -> training images of each class that this copy holds, where it may be fewer than published.
        scarce: what to do about that, for a message.
        rule: which images are the training and which the test part, where the data set does not say; of its identity.
        embedded: whether no user has to bring it.
    """

    name: str
    summary: str
    layout: str
    classes: tuple[str, ...]
    edge: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_sizes: tuple[int, ...]
    test_sizes: tuple[int, ...]
    find: Callable[[Path], Path]
    check: Callable[[Path, bool], list[str]]
    differs: Callable[[Path, bool], str]
    read: Callable[[Path, Places, Places], Taken]
    held: Callable[[Path], tuple[int, ...] | None] = lambda path: None
    scarce: str = ""
    rule: str = ""
    embedded: bool = False


def take(
    train: ImageArrays,
    test: ImageArrays,
    train_places: Places,
    test_places: Places,
    where: object,
    variant: bool,
) -> Taken:
    """The images at these places of a data set in memory. Raises DataError where a class has fewer than asked for."""
    import numpy as np

    from tasks.vision.data.arrays import set_digest

    chosen = train.take(positions(train.labels, train_places, where, "training"))
    places = np.sort(positions(test.labels, test_places, where, "test"))
    tested = test.take(places)
    return Taken(
        train=chosen,
        test=tested,
        test_places=places,
        released_labels=test.labels,
        observed={"train": set_digest(chosen), "test": set_digest(tested)},
        variant=variant,
    )


def positions(labels: Array, places: Places, where: object, what: str) -> Array:
    """int64 (M,), class after class: where the images at these places lie among images of `labels` (N,).

    Raises DataError where a class has fewer images than asked for.
    """
    import numpy as np

    found = [np.empty(0, np.int64)]
    for c, of_class in enumerate(places):
        if not len(of_class):
            continue
        members = np.flatnonzero(labels == c)
        last = of_class[-1]
        if last >= len(members):
            raise DataError(
                f"{where}: class {c} has {len(members):,} {what} images, but number {last + 1:,} is asked for; "
                "copy it again"
            )
        found.append(members[np.asarray(of_class, np.int64)])
    return np.concatenate(found).astype(np.int64)
