"""Batch norm over the samples of all ranks, so that it is that of one process on the whole batch.

On a GPU it is torch's SyncBatchNorm. On a CPU that one raises, also under DDP ("layers only work with GPU
modules", torch 2.13), so there the layers are made `_RankNorm`s.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from mmengine.dist import get_dist_info
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def over_ranks(model: nn.Module) -> nn.Module:
    """The model with every batch norm layer taking its statistics over all ranks."""
    if torch.cuda.is_available():
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    reverted: nn.Module = revert_sync_batchnorm(model)
    for module in reverted.modules():
        if isinstance(module, _BatchNorm):
            # in place: whoever refers to the layer, or asks for its class, finds the same
            kind = type(module)
            module.__class__ = type(f"Rank{kind.__name__}", (_RankNorm, kind), {})
    return reverted


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
