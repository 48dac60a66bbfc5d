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
from mmengine.model import MMDistributedDataParallel
from torch import Tensor, nn

from suite.engine import batch_norm
from suite.engine.data import mixed_seed

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
    contents = []
    for rank, size in enumerate(sizes[1:], start=1):
        received = torch.empty(size, dtype=torch.uint8)
        dist.recv(received, rank, group=_control)
        contents.append(received)
    return contents


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
        mixed = mixed_seed(seed, -rank)
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
    model = batch_norm.over_ranks(model)
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
