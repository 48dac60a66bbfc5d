"""A test set without a sample is named before the training, not after it."""

import torch

from suite.define.catalog import Catalog
from suite.dispatch.carry_out import assignments
from suite.runs.plan import make_plan
from suite.runs.worker import execute
from tasks.vision.data import datasets


def test_an_empty_test_set_is_bad_data_and_nothing_is_trained(tmp_path, monkeypatch):
    read = datasets._split

    def without_test(source, root, split, pool):
        images, labels = read(source, root, split, pool)
        return (images[:0], labels[:0]) if split == "test" else (images, labels)

    monkeypatch.setattr(datasets, "_split", without_test)
    threads = torch.get_num_threads()
    catalog = Catalog.load()
    task = catalog.task("longtail-cls")
    protocol = catalog.protocol(task, "smoke")
    plan = make_plan(tmp_path, catalog, task, protocol, methods=["ce"], seeds=[0])
    (work,) = assignments(plan.items, tmp_path, None)
    report = execute(work, catalog)
    torch.set_num_threads(threads)
    assert (report.state, report.failure.kind) == ("failed", "bad-data")
    assert "the test set of protocol 'smoke' holds no sample" in report.failure.message
    assert report.step == 0
