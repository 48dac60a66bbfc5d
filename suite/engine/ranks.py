"""What the ranks of a run say to each other: one process each, N of them sharing every batch.

Sample n of the global order is rank n % N's, so the global batch holds the same samples whatever N is. A
protocol that can be shared names a module (`Protocol.join`) that lets each rank compute its loss on the
joined outputs of all; batch norm takes its statistics over all. So loss, gradient and weights are those
of one process on the whole batch, up to the order of summation. What a network draws at random
(dropout, a memory bank) comes from a generator of each rank.

All functions work for a single process too, where they do nothing.
"""

from __future__ import annotations

import importlib
import io
import random
import time
import warnings
from datetime import timedelta
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from mmengine.dist import get_dist_info
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from suite.engine.data import _mix

TIMEOUT = timedelta(hours=1)
"""A rank that waits longer for another gives up: rank 0 alone writes checkpoints, on slow disks too."""

_control: Any = None
_left: list[Any] = []


def connect(rank: int, ranks: int, store: Any, device: str) -> None:
    """Join the group of this run. NCCL between GPUs, gloo on the CPU and for what is said beside."""
    global _control
    _left.clear()
    on_gpu = device.startswith("cuda")
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=ranks, timeout=TIMEOUT
    )
    # a broadcast on the GPU would wait for the iteration's work
    _control = dist.new_group(backend="gloo", timeout=TIMEOUT) if on_gpu else None


def disconnect() -> None:
    """Leave the group, if there is one."""
    global _control
    if not dist.is_initialized():
        return
    # gloo's destructor waits for its thread, with the interpreter's lock held where DDP lets go of it; the
    # thread waits for that lock while it drops the last work. So the group is kept until it is at rest.
    _left[:] = [dist.group.WORLD, _control]
    _control = None
    dist.destroy_process_group()
    time.sleep(0.05)


def first() -> bool:
    """Whether this process is rank 0, which alone writes what is kept."""
    return bool(get_dist_info()[0] == 0)


def agree(value: int) -> int:
    """Rank 0's value, on all ranks."""
    if get_dist_info()[1] == 1:
        return value
    told = torch.tensor([value])
    dist.broadcast(told, 0, group=_control)
    return int(told)


def numbers(value: int) -> list[int]:
    """The value of every rank, on all ranks."""
    ranks = get_dist_info()[1]
    if ranks == 1:
        return [value]
    values = [torch.zeros(1, dtype=torch.int64) for _ in range(ranks)]
    dist.all_gather(values, torch.tensor([value]), group=_control)
    return [int(one) for one in values]


def collect(content: Tensor | None) -> list[Tensor]:
    """uint8 tensors of the other ranks in their order, on rank 0; [] elsewhere."""
    sizes = numbers(0 if content is None else content.numel())
    if not first():
        assert content is not None
        dist.send(content, 0, group=_control)
        return []
    found = []
    for rank, size in enumerate(sizes[1:], start=1):
        received = torch.empty(size, dtype=torch.uint8)
        dist.recv(received, rank, group=_control)
        found.append(received)
    return found


def packed(value: dict[str, Any]) -> Tensor:
    """Plain data as a uint8 tensor."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def unpacked(content: Tensor) -> dict[str, Any]:
    """What `packed` took. Never unpickles."""
    buffer = io.BytesIO(content.cpu().numpy().tobytes())
    return cast(dict[str, Any], torch.load(buffer, map_location="cpu", weights_only=True))


def own_generators(seed: int, rank: int) -> None:
    """Seed the global generators of python, numpy and torch by (seed, rank); rank 0's are as always."""
    if rank:
        mixed = _mix(seed, -rank)
        random.seed(mixed)
        np.random.seed(mixed & 0xFFFFFFFF)
        torch.manual_seed(mixed)


# -- the batch
def whole(part: Tensor) -> Tensor:
    """The samples (dimension 0) of all ranks, in the global order, without gradient."""
    ranks = get_dist_info()[1]
    if ranks == 1:
        return part
    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(ranks)]
    dist.all_gather(parts, part.detach().contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return whole(part)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        rank, ranks = get_dist_info()
        # times N: each rank holds the gradient of its own samples alone, and DDP takes the mean
        own: Tensor = grad.reshape(-1, ranks, *grad.shape[1:])[:, rank] * ranks
        return own


def joined(part: Tensor) -> Tensor:
    """The samples (dimension 0) of all ranks, in the global order, for a loss that every rank computes
    of all of them. The gradient is such that DDP's mean over ranks is that of one process."""
    if get_dist_info()[1] == 1:
        return part
    return cast(Tensor, _Whole.apply(part))  # type: ignore[no-untyped-call]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # the same on all ranks: no need to ask; and DDP takes the mean
        whole: Tensor = grad * get_dist_info()[1]
        return whole


def total(part: Tensor) -> Tensor:
    """The sum over ranks, for a loss that every rank computes from it. The gradient is as `joined`'s."""
    if get_dist_info()[1] == 1:
        return part
    return cast(Tensor, _Total.apply(part))  # type: ignore[no-untyped-call]


# -- the model
def prepared(model: nn.Module, join: str) -> nn.Module:
    """The model of a rank: batch norm over all ranks, and its losses joined by the module named `join`."""
    if torch.cuda.is_available():
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    else:
        model = revert_sync_batchnorm(model)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                # in place: whoever refers to the layer, or asks for its class, finds the same
                kind = type(module)
                module.__class__ = type(f"Rank{kind.__name__}", (_RankNorm, kind), {})
    importlib.import_module(join).join(model)
    return model


def wrapped(model: nn.Module, device: torch.device, unused: bool) -> nn.Module:
    """The model under DDP, which sends rank 0's weights to all."""
    with warnings.catch_warnings():
        # of torch: another argument will do the same one day
        warnings.simplefilter("ignore", FutureWarning)
        ddp: nn.Module = MMDistributedDataParallel(
            module=model.to(device),
            device_ids=[0] if device.type == "cuda" else None,
            # those of batch norm are equal already; others are made of the joined batch
            broadcast_buffers=False,
            find_unused_parameters=unused,
        )
    return ddp


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance over all ranks' samples."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dims = [d for d in range(x.dim()) if d != 1]
        count = x.numel() // x.shape[1] * get_dist_info()[1]
        # equal parts: their means and variances combine without the samples, and without cancellation
        own = torch.stack(torch.var_mean(x, dims, correction=0)).double()
        parts = [torch.empty_like(own) for _ in range(get_dist_info()[1])]
        dist.all_gather(parts, own)
        vars_, means = torch.stack(parts, dim=1)
        mean = means.mean(0)
        var = (vars_ + (means - mean) ** 2).mean(0)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.count = eps, count
        ctx.mark_non_differentiable(mean, var)
        mean_, var_ = mean.to(x.dtype), var.to(x.dtype)
        result = nn.functional.batch_norm(x, mean_, var_, weight, bias, False, 0.0, eps)
        return result, mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        dims = [d for d in range(x.dim()) if d != 1]
        scale = (var + ctx.eps).rsqrt()
        normal = (x - _along(mean, x).to(x.dtype)).mul_(_along(scale, x).to(x.dtype))
        own = torch.stack([g.sum(dims, dtype=torch.float64) for g in (grad, grad * normal)])
        total = own.clone()
        dist.all_reduce(total)
        total /= ctx.count
        slope = scale if weight is None else scale * weight.double()
        back = normal.mul_(_along(total[1], x).to(x.dtype)).add_(_along(total[0], x).to(x.dtype))
        back = torch.sub(grad, back, out=back).mul_(_along(slope, x).to(x.dtype))
        if weight is None:
            return back, None, None, None
        return back, own[1].to(weight.dtype), own[0].to(weight.dtype), None


def _along(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


class _RankNorm(_BatchNorm):
    """Batch norm over all ranks' samples on a CPU, where torch's SyncBatchNorm does not work."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        result, mean, var = _Normalised.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps
        )
        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            new = self.momentum
            if new is None:
                new = 1 / float(self.num_batches_tracked)
            count = x.numel() // x.shape[1] * get_dist_info()[1]
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), new)
            unbiased = var * (count / max(count - 1, 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), new)
        return cast(Tensor, result)


# -- the test
@torch.no_grad()
def test(loop: Any) -> None:
    """mmengine's test loop over all ranks; rank 0's metrics end as if it had tested everything alone.

    Whole batches go to the ranks in turn, so that a batch is the same for any number of ranks. What a
    metric must offer for that: `settled`, whether the samples may from now on be counted in any order
    and place (until then every rank counts every sample); `at`, set to the place in the data set of the
    first sample of the batch that comes; `leave()`, forget what was counted, called once on all ranks
    but the first when all are settled; `part()`, tensors and plain data of what was counted since; and
    `merge(parts)` on rank 0.
    """
    rank, ranks = get_dist_info()
    runner, loader, metrics = loop.runner, loop.dataloader, loop.evaluator.metrics
    runner.call_hook("before_test")
    runner.call_hook("before_test_epoch")
    runner.model.eval()
    size, batch = len(loader.dataset), loader.batch_size
    starts = list(range(0, size, batch))

    def go(mine: list[int], until_settled: bool) -> int:
        indices = [i for start in mine for i in range(start, min(start + batch, size))]
        ours = DataLoader(
            loader.dataset,
            batch_size=batch,
            sampler=indices,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )
        # the sampler's batches and `mine` agree: only the last of all is short
        for done, (start, data) in enumerate(zip(mine, ours, strict=True), start=1):
            for metric in metrics:
                metric.at = start
            loop.run_iter(done - 1, data)
            if until_settled and all(metric.settled for metric in metrics):
                return done
        return len(mine)

    common = go(starts, until_settled=True)
    if rank:
        for metric in metrics:
            metric.leave()
    go(starts[common + rank :: ranks], until_settled=False)
    for metric in metrics:
        parts = collect(packed(metric.part()) if rank else None)
        if not rank:
            metric.merge([unpacked(part) for part in parts])
    runner.call_hook("after_test_epoch", metrics={})
    runner.call_hook("after_test")
