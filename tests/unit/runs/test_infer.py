"""A method's `infer`: what it takes agrees with its card, and who may call it."""

import numpy as np
import pytest
from inferring import plugin

from suite.base.errors import UserError
from suite.define.catalog import Catalog


def test_it_is_bound_to_the_run_and_told_what_it_takes(tmp_path):
    needs = '{"prior": True}'
    path = plugin(tmp_path, needs=needs, signature="*, shift, prior=None", extra=" + prior")
    source = Catalog.load([path]).source("adapting")
    assert source.infers
    assert source.card.flags == ["test-prior"]
    infer = source.infer((9, 1), {"shift": 2.0})
    got = infer({"logits": np.zeros((1, 2))}, prior=np.array([0.5, 0.25]), unlabelled="dropped")
    assert got.tolist() == [[2.5, 2.25]]


@pytest.mark.parametrize(
    ("needs", "signature", "message"),
    [
        ("{}", "*, shift, prior=None", r"infer\(\) takes 'prior'; say so"),
        ("{}", "*, shift, unlabelled=None", r"infer\(\) takes 'unlabelled'; say so"),
        ('{"prior": True}', "*, shift", r"the card needs 'prior', which no infer\(\) takes"),
    ],
)
def test_card_and_signature_must_agree(tmp_path, needs, signature, message):
    with pytest.raises(UserError, match=message):
        Catalog.load([plugin(tmp_path, needs=needs, signature=signature)])


@pytest.mark.parametrize("kept", [True, False])
def test_lost_predictions_are_told_with_the_command_that_makes_them(tmp_path, kept):
    from strangers import Stranger

    from suite.base.errors import RecordError
    from suite.runs.evaluate import evaluate_attempt

    run = Stranger(tmp_path).run
    (run.path / "predictions.npz").unlink()
    if not kept:
        run.weights.unlink()
    catalog = Catalog.load()
    protocol = catalog.protocol_of(run.record().spec)
    way = f"suite predict {run.run_id} --set test" if kept else "--method ce --seeds . --fresh"
    with pytest.raises(RecordError, match=way):
        evaluate_attempt(run, catalog.task("longtail-cls"), protocol, catalog, again=True)
