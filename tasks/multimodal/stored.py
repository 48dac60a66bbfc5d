"""The form in which a run on several modalities is stored: logits, and the features that encoders make.

Whatever is published of a run is computed from these arrays alone. Modalities are named [a-z0-9]+; those of a run follow
from the arrays of features, in the protocol's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from tasks.vision.stored import check_scores

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

STORED = (
    "label, float32 logits, each modality's own logits and those of every subset of modalities where the fusion has them, "
    "and pooled features by modality, float16 (float32 where float16 would not tell them apart)"
)
TRAIN = "train"
"""The set of the training samples without augmentation, to which linear probes are fitted: it needs no logits."""
FEATURES = "features_"
"""Before a modality's name."""
LOST = 0.01
"""Above this share of a feature's standard deviation lost by float16 (root mean square), features are float32."""
VARIED = 1e-6
"""A feature whose range is at most this share of its largest absolute value is a constant."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored set as `checked` found it: N samples, C classes, M modalities in use.

    Attributes:
        modalities: those in use, in the protocol's order.
        label: (N,) int64, 0..C-1.
        features: modality -> (N, D) float16 or float32, finite.
        logits: (N, C) float32; None for a set `train` that has none.
        modality_logits: (N, M, C) float32, each modality's own; None where the fusion has none.
        subset_logits: (N, 2^M - 2, C) float32, of subsets in the order of `subsets`; None where the fusion takes no missing
            modality, and for M = 1.
    """

    modalities: tuple[str, ...]
    label: Array
    features: Mapping[str, Array]
    logits: Array | None = None
    modality_logits: Array | None = None
    subset_logits: Array | None = None


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Subsets but the empty and the full one, in the stored order: that of the binary numbers whose bit k is the k-th
    modality (`tasks.multimodal.networks.proper_subsets`)."""
    return [
        tuple(name for k, name in enumerate(modalities) if mask >> k & 1)
        for mask in range(1, 2 ** len(modalities) - 1)
    ]


def store(
    label: Array,
    features: Mapping[str, Array],
    classes: int,
    *,
    logits: Array | None = None,
    modality_logits: Array | None = None,
    subset_logits: Array | None = None,
) -> dict[str, Array]:
    """The stored form of a prediction set.

    Args:
        label: (N,) integers 0..C-1, N >= 1.
        features: modality -> (N, D), floating, finite; at least one modality, in the protocol's order.
        classes: C.
        logits: (N, C), floating; finite or -inf, at least one finite in each row; None for `train` alone.
        modality_logits, subset_logits: see `Stored`.

    Returns `label` int32, `features_NAME` float16, or float32 where float16 would overflow or lose more than `LOST` of a
    feature's standard deviation, and float32 logits under their names. Every array has N rows: rows chosen from all of
    them are a stored set again. Raises RecordError for arrays of another form.
    """
    import numpy as np

    label = np.asarray(label)
    _check_labels(label, classes, "labels")
    if not features:
        raise RecordError("features of no modality")
    made = {"label": label.astype(np.int32)}
    for key, scores in {
        "logits": logits,
        "modality_logits": modality_logits,
        "subset_logits": subset_logits,
    }.items():
        if scores is None:
            continue
        scores = np.asarray(scores)
        _check_shape(key, scores, len(label), len(features), classes, key)
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            scores = scores.astype(np.float32)
        check_scores(scores, scores.shape, key)
        made[key] = scores
    for name, values in features.items():
        values = np.asarray(values)
        _check_features(values, len(label), f"features of modality {name!r}")
        made[f"{FEATURES}{name}"] = _compact(values, name)
    return made


def _compact(values: Array, name: str) -> Array:
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        values = values.astype(np.float32)
        half = values.astype(np.float16)
    if not np.isfinite(values).all():
        raise RecordError(f"features of modality {name!r} go beyond float32")
    if not np.isfinite(half).all():
        return values
    # float64 holds both and their difference exactly
    lost = np.sqrt(np.square(half.astype(np.float64) - values).mean(axis=0))
    kept = lost <= LOST * values.std(axis=0, dtype=np.float64)
    # a constant has nothing to lose
    narrow = kept[varied(values.min(axis=0), values.max(axis=0))].all()
    return half if narrow else values


def varied(low: Array, high: Array) -> Array:
    """Whether features with these least and largest values (D,) differ between samples by more than a sum's rounding
    does, which is another one on another machine."""
    import numpy as np

    differs: Array = high - low > VARIED * np.maximum(np.abs(low), np.abs(high))
    return differs


def checked(
    predictions: Mapping[str, Mapping[str, Array]],
    name: str,
    classes: int,
    modalities: Sequence[str],
) -> Stored:
    """The stored set `name`; `modalities` are the protocol's, of which a run may use some.

    Raises RecordError where the set is not stored, or in another form. Logits are needed but in `train`.
    """
    import numpy as np

    if name not in predictions:
        raise RecordError(f"stored predictions hold no set {name!r}")
    arrays, where = predictions[name], f"stored set {name!r}"
    kept = [key.removeprefix(FEATURES) for key in arrays if key.startswith(FEATURES)]
    if unknown := [key for key in kept if key not in modalities]:
        raise RecordError(
            f"{where} holds features of {unknown[0][:40]!r}, which is none of the protocol's modalities: "
            f"{', '.join(modalities)}"
        )
    used = tuple(key for key in modalities if key in kept)
    needed = ["label", *([] if name == TRAIN else ["logits"])]
    if missing := [key for key in needed if key not in arrays]:
        raise RecordError(f"{where} holds no {missing[0]!r}; expected {', '.join(needed)}")
    if not used:
        raise RecordError(
            f"{where} holds features of no modality; expected {FEATURES}NAME of one or more of "
            f"{', '.join(modalities)}"
        )
    label = arrays["label"]
    _check_labels(label, classes, f"{where}: labels")
    scores: dict[str, Array] = {}
    for key in ("logits", "modality_logits", "subset_logits"):
        if key in arrays:
            what = f"{where}: {key}"
            _check_shape(key, arrays[key], len(label), len(used), classes, what)
            if arrays[key].dtype != np.float32:
                raise RecordError(f"{what} are {arrays[key].dtype}, expected float32")
            check_scores(arrays[key], arrays[key].shape, what)
            scores[key] = arrays[key]
    features = {key: arrays[f"{FEATURES}{key}"] for key in used}
    for key, values in features.items():
        what = f"{where}: features of modality {key!r}"
        _check_features(values, len(label), what)
        if values.dtype not in (np.float16, np.float32):
            raise RecordError(f"{what} are {values.dtype}, expected float16 or float32")
    return Stored(used, label.astype(np.int64), features, **scores)


def checked_sets(
    predictions: Mapping[str, Mapping[str, Array]], classes: int, modalities: Sequence[str]
) -> dict[str, Stored]:
    """Every stored set, `test` and `train` first.

    Raises RecordError as `checked` does, where one of these two is missing, and where a set holds other modalities, or
    features of another width, than `test`.
    """
    names = list(dict.fromkeys(["test", TRAIN, *predictions]))
    found = {name: checked(predictions, name, classes, modalities) for name in names}
    test = found["test"]
    for name, one in found.items():
        if one.modalities != test.modalities:
            raise RecordError(
                f"stored set {name!r} holds features of {', '.join(one.modalities)}, set 'test' of "
                f"{', '.join(test.modalities)}"
            )
        for modality in one.modalities:
            width, expected = (s.features[modality].shape[1] for s in (one, test))
            if width != expected:
                raise RecordError(
                    f"stored set {name!r} holds {width} features of modality {modality!r}, set 'test' "
                    f"{expected}"
                )
    return found


def _check_labels(label: Array, classes: int, what: str) -> None:
    if label.ndim != 1 or label.dtype.kind not in "iu":
        raise RecordError(
            f"{what} are {label.dtype} of shape {label.shape}, expected integers of shape (N,)"
        )
    if not len(label):
        raise RecordError(f"{what} of no sample: the prediction set is empty")
    if label.min() < 0 or label.max() >= classes:
        raise RecordError(f"{what} lie in {label.min()}..{label.max()}, expected 0..{classes - 1}")


def _check_shape(
    key: str, scores: Array, samples: int, modalities: int, classes: int, what: str
) -> None:
    expected: dict[str, tuple[int, ...]] = {
        "logits": (samples, classes),
        "modality_logits": (samples, modalities, classes),
        "subset_logits": (samples, 2**modalities - 2, classes),
    }
    shape = expected[key]
    if 0 in shape:
        raise RecordError(f"{what} of one modality: it has no proper subsets")
    if scores.shape != shape or scores.dtype.kind != "f":
        raise RecordError(
            f"{what} are {scores.dtype} of shape {scores.shape}, expected floats of shape {shape}"
        )


def _check_features(values: Array, samples: int, what: str) -> None:
    import numpy as np

    if (
        values.ndim != 2
        or len(values) != samples
        or not values.shape[1]
        or values.dtype.kind != "f"
    ):
        raise RecordError(
            f"{what} are {values.dtype} of shape {values.shape}, expected floats of shape "
            f"({samples}, D)"
        )
    if not (finite := np.isfinite(values)).all():
        bad = np.flatnonzero(~finite.all(axis=1))
        raise RecordError(
            f"{what} are not finite for {len(bad)} of {samples} samples (first: sample {bad[0]})"
        )
