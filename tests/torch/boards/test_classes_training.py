"""Confusion matrices against the recalls that a training stores."""

import numpy as np
import pytest
from strangers import SAMPLES, catalog, finished, protocol

from suite.boards import confusions
from suite.runs.evaluate import metric_rows

# -- what tasks say


def recall_of(confusion):
    return np.diag(confusion) / confusion.sum(axis=1)


@pytest.mark.parametrize("method", ["ce", "la-posthoc", "lade"])
def test_recall_from_the_confusion_is_the_stored_one(tmp_path, method):
    task = catalog().task("longtail-cls")
    infers = catalog().method(catalog().spec(method, protocol())).infers
    run = finished(tmp_path, 0, method, infers=infers)
    found = confusions.confusion_of(run, task, catalog())
    assert found.dtype == np.int64 and found.sum() == SAMPLES
    assert found.sum(axis=1).tolist() == [4] * 10
    rows = metric_rows(
        run, run.record(), run.predictions(), task, task.evaluation(protocol()), catalog()
    )
    stored_rows = [r.value for r in rows if r.metric == "recall" and not r.subset]
    np.testing.assert_array_equal(recall_of(found), stored_rows)
    plain = confusions.confusion_of(finished(tmp_path / "ce", 0), task, catalog())
    # lade is told the label distribution, which is balanced here: nothing to shift
    assert (found != plain).any() == (method == "la-posthoc")
