"""Scores of `neural-collapse`: test accuracy from stored logits, the geometry of the last layer from stored arrays, and
the terminal phase from what was tracked.

Training sets are balanced, so there are no groups of classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Metric, Predictions, Trained
from tasks.neural_collapse.terminal import terminal
from tasks.vision.geometry.stored import SETS, checked
from tasks.vision.per_class import class_rows, confusion, label_digest, recalls, row
from tasks.vision.stored import blocks, plain, restore
from tasks.vision.stored import checked as checked_logits

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.bootstrap import Units

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
