"""The test of a run on several ranks, which scores as one process does."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader

from suite.engine import ranks


@torch.no_grad()
def run(loop: Any) -> None:
    """Run mmengine's test loop over all ranks; rank 0's metrics end as if it had tested everything alone.

    Whole batches go to the ranks in turn, so that a batch is the same for any number of ranks. What a
    metric must offer for that: `settled`, whether the samples may from now on be counted in any order
    and place (until then every rank counts every sample); `at`, set to the place in the data set of the
    first sample of the batch that comes; `leave()`, forget what was counted, called once on all ranks
    but the first when all are settled; `part()`, tensors and plain data of what was counted since; and
    `merge(parts)` on rank 0.
    """
    rank, number = get_dist_info()
    runner, loader, metrics = loop.runner, loop.dataloader, loop.evaluator.metrics
    runner.call_hook("before_test")
    runner.call_hook("before_test_epoch")
    runner.model.eval()
    size, batch = len(loader.dataset), loader.batch_size
    starts = list(range(0, size, batch))

    def count(chosen: list[int], until_settled: bool) -> int:
        indices = [i for start in chosen for i in range(start, min(start + batch, size))]
        batches = DataLoader(
            loader.dataset,
            batch_size=batch,
            sampler=indices,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )
        # the sampler's batches and `chosen` agree: only the last of all is short
        for done, (start, data) in enumerate(zip(chosen, batches, strict=True), start=1):
            for metric in metrics:
                metric.at = start
            loop.run_iter(done - 1, data)
            if until_settled and all(metric.settled for metric in metrics):
                return done
        return len(chosen)

    common = count(starts, until_settled=True)
    if rank:
        for metric in metrics:
            metric.leave()
    count(starts[common + rank :: number], until_settled=False)
    for metric in metrics:
        parts = ranks.collect(ranks.packed(metric.part()) if rank else None)
        if not rank:
            metric.merge([ranks.unpacked(part) for part in parts])
    runner.call_hook("after_test_epoch", metrics={})
    runner.call_hook("after_test")
