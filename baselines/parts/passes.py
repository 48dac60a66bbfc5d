"""Passes over the batch, counted as the network makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from suite.base.errors import UserError


@OPTIM_WRAPPERS.register_module()
class PassCountingOptimWrapper(OptimWrapper):  # type: ignore[misc]
    """Counts how often a training step goes through the network: half a pass each time forwards, and half each time a
    gradient comes back through its output. What a method says of itself may be wrong; this is not.

    The network is the model's `backbone`, or its `encoders`, one for each modality, each of which counts for its share.
    A step is all that lies within one outermost `optim_context` and the backward passes from it, however often the
    optimiser steps there.

    Args:
        networks: M, of how many alike the whole network of the protocol consists: a way through one is 1 / (2 M).
    """

    def __init__(self, *args: Any, networks: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._networks = networks
        self._halves, self._steps = 0, 0
        self._within = False

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Around everything of a step but the last backward pass, which the graph's own hooks count."""
        with ExitStack() as stack:
            if not self._within:
                bare: Any = model.module if is_model_wrapper(model) else model
                for network in _networks(bare):
                    stack.callback(network.register_forward_hook(self._forward).remove)
                self._within = True
                stack.callback(self._left)
                self._steps += 1
            stack.enter_context(super().optim_context(model))
            yield

    def _left(self) -> None:
        self._within = False

    def _forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._halves += 1
        maps: Tensor = output if isinstance(output, Tensor) else output[-1]
        if maps.requires_grad:
            maps.register_hook(self._backward)  # type: ignore[no-untyped-call]

    def _backward(self, gradient: Tensor) -> None:
        self._halves += 1

    @property
    def passes_per_step(self) -> float:
        """Mean over the steps so far, in passes over the batch."""
        return self._halves / (2 * self._networks) / max(self._steps, 1)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "halves": self._halves, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        self._halves, self._steps = state.pop("halves"), state.pop("steps")
        super().load_state_dict(state)


def _networks(model: Any) -> Sequence[nn.Module]:
    encoders = getattr(model, "encoders", None)
    return [model.backbone] if encoders is None else list(encoders.values())


def count_passes(cfg: Any) -> Any:
    """`cfg` with an optimiser wrapper that counts. Raises UserError where another one makes the steps."""
    found = cfg.optim_wrapper.get("type", "OptimWrapper")
    if found not in ("OptimWrapper", PassCountingOptimWrapper.__name__):
        raise UserError(
            f"passes are counted where OptimWrapper makes the steps, and the config has {found} there"
        )
    cfg.optim_wrapper.type = PassCountingOptimWrapper.__name__
    encoders = cfg.model.get("encoders")
    if encoders is not None:
        # all of the protocol, also where a method leaves some out
        cfg.optim_wrapper.networks = len(encoders)
    return cfg
