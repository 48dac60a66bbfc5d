"""Passes over the batch, counted as the network makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from suite.base.errors import UserError


@OPTIM_WRAPPERS.register_module()
class PassCountingOptimWrapper(OptimWrapper):  # type: ignore[misc]
    """Counts how often a training step goes through the backbone: half a pass each time forwards, and half each time a
    gradient comes back through its output. What a method says of itself may be wrong; this is not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._halves, self._steps = 0, 0

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Around everything of a step but the last backward pass, which the graph's own hooks count."""
        bare: Any = model.module if is_model_wrapper(model) else model
        handle = bare.backbone.register_forward_hook(self._forward)
        try:
            with super().optim_context(model):
                yield
        finally:
            handle.remove()

    def _forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._halves += 1
        maps: Tensor = output[-1] if isinstance(output, tuple) else output
        if maps.requires_grad:
            maps.register_hook(self._backward)  # type: ignore[no-untyped-call]

    def _backward(self, gradient: Tensor) -> None:
        self._halves += 1

    def update_params(self, *args: Any, **kwargs: Any) -> None:
        super().update_params(*args, **kwargs)
        self._steps += 1

    @property
    def passes_per_step(self) -> float:
        """Mean over the steps so far, in passes over the batch."""
        return self._halves / 2 / max(self._steps, 1)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "halves": self._halves, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        self._halves, self._steps = state.pop("halves"), state.pop("steps")
        super().load_state_dict(state)


def count_passes(cfg: Any) -> Any:
    """`cfg` with an optimiser wrapper that counts. Raises UserError where another one makes the steps."""
    found = cfg.optim_wrapper.get("type", "OptimWrapper")
    if found != "OptimWrapper":
        raise UserError(f"attacks take steps of OptimWrapper, and the config has {found} there")
    cfg.optim_wrapper.type = PassCountingOptimWrapper.__name__
    return cfg
