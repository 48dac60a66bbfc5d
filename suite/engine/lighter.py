"""What torch and mmengine import beside what a run uses, left out: half of the time that a worker takes to start.

- mmengine wraps torch's optimiser and model that are sharded over ranks (`ZeroRedundancyOptimizer`, FSDP), and for
  their base classes imports `torch.distributed.fsdp` with sympy. A run has no use for them: its checkpoints would hold
  one rank's part of the state alone. Classes that say so stand in their place.
- torch keeps some methods of optimisers out of what its compiler traces, and to say so imports the whole compiler when
  the first of them is called. Nothing is traced before somebody has imported that; from then on all is torch's own.

Both are done where the import happens, by a finder that knows the modules' names; nothing is imported here. Where a
module was there before, or is laid out otherwise one day, all is as without this.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from suite.base.errors import UserError

_COMPILER = "torch._dynamo"


def lighten() -> None:
    """Have these imports left out from now on, once for the process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


# -- sharded state
def _refused(name: str, other: str) -> type:
    """A class that cannot be made."""

    def refuse(self: object, *_: Any, **__: Any) -> None:
        raise UserError(
            f"{name} keeps a part of the state on each rank, and a checkpoint would hold one part alone; {other}"
        )

    return type(name, (), {"__init__": refuse, "__module__": __name__})


def _optimizer(module: Any) -> None:
    from mmengine.optim.optimizer.builder import OPTIMIZERS

    module.ZeroRedundancyOptimizer = OPTIMIZERS.register_module()(
        _refused("ZeroRedundancyOptimizer", "name the optimiser itself: optimizer=dict(type=...)")
    )


def _model(module: Any) -> None:
    from mmengine.registry import MODEL_WRAPPERS

    module.MMFullyShardedDataParallel = MODEL_WRAPPERS.register_module()(
        _refused("MMFullyShardedDataParallel", "leave it out; --ranks N has a run use several GPUs")
    )


def _strategy(module: Any) -> None:
    # mmengine's package goes without it then
    raise ImportError(f"{module.__name__} is left out")


_STAND_INS: dict[str, Callable[[Any], None]] = {
    "mmengine.optim.optimizer.zero_optimizer": _optimizer,
    "mmengine.model.wrappers.fully_sharded_distributed": _model,
    "mmengine._strategy.fsdp": _strategy,
}


class _StandIn:
    """Loader of a module with what a function puts into it."""

    def __init__(self, fill: Callable[[Any], None]) -> None:
        self._fill = fill

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self._fill(module)


# -- the compiler
def _without_compiler(module: Any) -> None:
    """Answer for the compiler in `torch.optim.optimizer`, before optimisers are defined by it."""
    for method in list(vars(getattr(module, "Optimizer", object)).values()):
        plain = getattr(method, "__wrapped__", None)
        wrapped_by = getattr(method, "__globals__", {}).get("__name__")
        if wrapped_by == "torch._compile" and not hasattr(plain, "__dynamo_disable"):
            setattr(plain, "__dynamo_disable", _gate(method, plain))
    decorate = getattr(module, "_use_grad_for_differentiable", None)
    if decorate is not None:
        module._use_grad_for_differentiable = functools.partial(_step, decorate)


def _gate(method: Callable[..., Any], plain: Any) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if _COMPILER not in sys.modules:
            return plain(*args, **options)
        # torch looks again, and from now on does as ever
        with contextlib.suppress(AttributeError):
            delattr(plain, "__dynamo_disable")
        return method(*args, **options)

    return call


def _step(decorate: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """An optimiser's `step` with gradients on or off as the optimiser says, which is what torch's decorator does when
    nothing is traced."""
    full = decorate(plain)

    @functools.wraps(plain)
    def step(*args: Any, **options: Any) -> Any:
        if _COMPILER in sys.modules:
            return full(*args, **options)
        import torch

        before = torch.is_grad_enabled()
        try:
            torch.set_grad_enabled(args[0].defaults["differentiable"])
            return plain(*args, **options)
        finally:
            torch.set_grad_enabled(before)

    return step


# -- where it happens
class _Finder:
    """Knows the modules above by name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in _STAND_INS:
            stand_in: Any = _StandIn(_STAND_INS[name])
            return importlib.machinery.ModuleSpec(name, stand_in, origin=__name__)
        if name != "torch.optim.optimizer":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        load = loader.exec_module

        def and_after(module: ModuleType) -> None:
            load(module)
            _without_compiler(module)

        # of this spec alone: a finder makes a loader for each
        loader.exec_module = and_after
        return spec
