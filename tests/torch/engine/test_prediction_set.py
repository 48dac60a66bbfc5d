"""How a prediction set beside the test set is collected: by an evaluator of its own, which is told which set it is."""

from types import SimpleNamespace

import pytest

from suite.engine import run
from suite.engine.keys import PREDICTION_SET


@pytest.mark.parametrize("meta", [None, {"classes": ["a"]}])
def test_an_evaluator_is_told_which_set_it_collects(meta, monkeypatch):
    test = SimpleNamespace(dataset_meta=meta)
    loop = SimpleNamespace(dataloader="of the test set", evaluator=test)
    runner = SimpleNamespace(
        seed=0,
        test_loop=loop,
        build_dataloader=lambda config, seed: config,
        build_evaluator=lambda config: SimpleNamespace(dataset_meta=None),
    )
    config = SimpleNamespace(
        get=lambda key: None, prediction_dataloaders={"train": "of the samples"}, test_evaluator={}
    )

    def tested(runner):
        return {"loader": loop.dataloader, **loop.evaluator.dataset_meta}, {}, []

    monkeypatch.setattr(run, "_test", tested)
    arrays = run._other_set(runner, config, "train")
    assert arrays == {"loader": "of the samples", PREDICTION_SET: "train", **(meta or {})}
    # the test set's own is as it was
    assert loop.evaluator is test and test.dataset_meta is meta
    assert loop.dataloader == "of the test set"
