"""PESG, the optimiser of the minimax AUC objective, and how it comes into a config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn
from torch.optim import Optimizer

from baselines.parts.staged import stage_start
from suite.base.errors import UserError

ROLES = ("weight", "positive_mean", "negative_mean", "ascent")
"""What a group's parameters are: weights; a; b; and alpha, which is maximised. `weight` is the default."""

_NOISE = 0.01
_ALPHA_MAX = 999.0


@OPTIMIZERS.register_module()
class PESG(Optimizer):
    """Proximal epoch stochastic gradient (Guo et al., "Fast Objective & Duality Gap Convergence for Non-convex
    Strongly-concave Min-max Problems with PL Condition", JMLR 2023), as released with Yuan et al. (ICCV 2021), in LibAUC
    and with DRAUC.

    A step takes, for weights, a and b alike,

        v   = clip(gradient, -clip, clip) + gamma (w - w_ref) + weight_decay w,      element by element
        buf = (1 - momentum) buf + momentum v,      v in the first step
        w   = w - lr buf

    and then, with the new a and b, alpha = alpha + lr (2 (margin + b - a) - 2 alpha), within [0, 999]. w_ref is noise of
    standard deviation 0.01 at first, and at every switch point becomes the mean of all iterates since the last.

    NOTE: `momentum` weighs the *new* gradient, the opposite of SGD's.

    Groups with the same settings become one. A group's `role` is one of `ROLES`; of the last three there is one parameter
    each, or none at all. Means, references and their counts are part of the state, so that a resumed training goes on as
    if it had never stopped.

    Args:
        lr: >= 0, 0 where a schedule begins or ends there.
        momentum: in (0, 1]; 1: without memory.
        weight_decay, gamma: >= 0.
        clip: > 0.
        margin: c of the objective.
        milestones: switch points, in steps that are through.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        gamma: float = 2e-3,
        clip: float = 1.0,
        margin: float = 1.0,
        milestones: Sequence[int] = (),
    ) -> None:
        if lr < 0 or weight_decay < 0 or gamma < 0 or clip <= 0 or not 0 < momentum <= 1:
            raise ValueError(
                f"lr is {lr}, weight_decay {weight_decay}, gamma {gamma}, clip {clip} and momentum {momentum}; expected "
                "at least 0 for the first three, clip above 0 and momentum in (0, 1]"
            )
        self.margin, self.milestones = margin, frozenset(milestones)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "gamma": gamma,
            "clip": clip,
            "role": "weight",
            "steps": 0,
            "averaged": 0,
        }
        super().__init__(_merged(params, defaults), defaults)
        for group in self.param_groups:
            if group["role"] not in ROLES:
                raise ValueError(f"role is {group['role']!r}, expected one of {', '.join(ROLES)}")
        found = [len(self._of(role)) for role in ROLES[1:]]
        if found not in ([1, 1, 1], [0, 0, 0]):
            said = ", ".join(f"{n} as {role}" for n, role in zip(found, ROLES[1:], strict=True))
            raise ValueError(
                f"PESG needs one parameter of each role, or none at all, and has {said}"
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """With w_ref of its parameters, drawn on the CPU, so that a seed means the same on every device."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["role"] == "ascent":
            return
        for parameter in group["params"]:
            noise = _NOISE * torch.randn(parameter.shape, dtype=parameter.dtype)
            self.state[parameter] = {
                "reference": noise.to(parameter.device),
                "average": torch.zeros_like(parameter),
            }

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step, down and then up. Parameters without a gradient stay where they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["role"] != "ascent":
                self._descend(group)
        self._ascend()
        return loss

    def _descend(self, group: dict[str, Any]) -> None:
        everything = group["params"]
        if group["steps"] in self.milestones and group["averaged"]:
            for parameter in everything:
                state = self.state[parameter]
                state["reference"].copy_(state["average"])
            group["averaged"] = 0
        moved = [p for p in everything if p.grad is not None]
        if moved:
            references = [self.state[p]["reference"] for p in moved]
            clip, gamma = group["clip"], group["gamma"]
            change = list(torch._foreach_clamp_min([p.grad for p in moved], -clip))
            torch._foreach_clamp_max_(change, clip)
            torch._foreach_add_(change, moved, alpha=gamma + group["weight_decay"])
            torch._foreach_add_(change, references, alpha=-gamma)
            for parameter, v in zip(moved, change, strict=True):
                if "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = v.clone()
            buffers = [self.state[p]["momentum_buffer"] for p in moved]
            torch._foreach_lerp_(buffers, change, group["momentum"])
            torch._foreach_add_(moved, buffers, alpha=-group["lr"])
        group["steps"] += 1
        group["averaged"] += 1
        # a running mean: a sum of ten thousand iterates would lose its last digits
        averages = [self.state[p]["average"] for p in everything]
        torch._foreach_lerp_(averages, list(everything), 1 / group["averaged"])

    def _ascend(self) -> None:
        for group in self.param_groups:
            if group["role"] != "ascent":
                continue
            (alpha,) = group["params"]
            if alpha.grad is not None:
                ((a,), (b,)) = self._of("positive_mean"), self._of("negative_mean")
                alpha.add_(self.margin + b - a - alpha, alpha=2 * group["lr"])
                alpha.clamp_(0, _ALPHA_MAX)

    def _of(self, role: str) -> list[Tensor]:
        return [p for group in self.param_groups if group["role"] == role for p in group["params"]]


def _merged(params: Iterable[Any], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """Groups of parameters with the same settings: mmengine makes one for each, and a step takes as long as there are
    groups."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for given in params:
        group = {**defaults, **(given if isinstance(given, dict) else {"params": given})}
        inside = group.pop("params")
        own = merged.setdefault(tuple(sorted(group.items())), {"params": [], **group})
        own["params"] += [inside] if isinstance(inside, Tensor) else list(inside)
    return list(merged.values())


def auc_roles(loss: nn.Module) -> list[dict[str, Any]]:
    """Groups for the parameters of an `AUCMarginLoss`, for those who make a `PESG` by hand."""
    return [{"params": [getattr(loss, name)], "role": role} for name, role in _ROLE_OF.items()]


_ROLE_OF = {"a": "positive_mean", "b": "negative_mean", "alpha": "ascent"}


def with_pesg(
    cfg: Any,
    *,
    lr: float | None,
    momentum: float,
    weight_decay: float | None,
    gamma: float,
    clip: float,
    margin: float,
    switches: Sequence[float],
) -> Any:
    """`cfg` with PESG in the place of its optimiser; the head's loss is an `AUCMarginLoss`.

    Args:
        lr, weight_decay: None: the protocol's.
        switches: shares of the training in (0, 1] at which references are renewed; none: where the protocol's learning
            rate falls in steps. 1: never.

    Raises UserError for other shares.
    """
    wrapper, iterations = cfg.optim_wrapper, cfg.train_cfg.max_iters
    if not all(isinstance(s, int | float) and 0 < s <= 1 for s in switches):
        raise UserError(
            f"switches={list(switches)}: shares of the training above 0 and up to 1, such as [0.5,0.75]"
        )
    if switches:
        milestones = [stage_start(iterations, share) for share in switches]
    else:
        milestones = [
            milestone
            for schedule in cfg.get("param_scheduler") or []
            if schedule.type == "MultiStepLR" and not schedule.get("by_epoch", True)
            for milestone in schedule.milestones
        ]
    old = wrapper.optimizer
    wrapper.optimizer = {
        "type": "PESG",
        "lr": old.lr if lr is None else lr,
        "momentum": momentum,
        "weight_decay": old.get("weight_decay", 0.0) if weight_decay is None else weight_decay,
        "gamma": gamma,
        "clip": clip,
        "margin": margin,
        "milestones": sorted(set(milestones)),
    }
    paramwise = wrapper.get("paramwise_cfg") or {}
    roles = {f"head.loss_module.{name}": {"role": role} for name, role in _ROLE_OF.items()}
    wrapper.paramwise_cfg = {
        **paramwise,
        "custom_keys": {**paramwise.get("custom_keys", {}), **roles},
    }
    return cfg
