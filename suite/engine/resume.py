"""Resume that equals an undisturbed run, bit for bit on the CPU.

mmengine's checkpoint holds no random-generator states and none of a method's own state; its hook
deletes the old file before the new one is written. `ResumeHook` saves everything that has a
`state_dict`, keeps two files, each written whole or not at all, and falls back to the older.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from suite.base.errors import UserError
from suite.base.files import atomic_path
from suite.engine import ranks
from suite.engine.weights import load

_VERSION = 1
_PLAIN = (bool, int, float, str, bytes, type(None), torch.Tensor, torch.device, torch.dtype)


def components(runner: Runner) -> Iterator[tuple[str, Any]]:
    """(key, object) of everything with state, in the order in which it has to be restored.

    The loop comes first: it may rebuild optimisers and schedulers, which are looked up after it.
    """
    yield "loop", runner.train_loop
    yield "model", bare_model(runner)
    yield "optim_wrapper", runner.optim_wrapper
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):
        schedulers = [item for name in sorted(schedulers) for item in schedulers[name]]
    for i, scheduler in enumerate(schedulers):
        yield f"scheduler/{i}", scheduler
    names: dict[str, int] = {}
    for hook in runner.hooks:
        name = type(hook).__name__
        names[name] = names.get(name, -1) + 1
        yield f"hook/{name}/{names[name]}", hook
    yield "sampler", runner.train_dataloader.sampler


def capture(runner: Runner) -> dict[str, Any]:
    """State of `runner` after a finished iteration. Raises TypeError for what is not plain data."""
    loop = runner.train_loop
    state: dict[str, Any] = {
        "version": _VERSION,
        # the hooks of an iteration run before the loop counts it
        "iter": loop._iter + 1,
        "epoch": getattr(loop, "_epoch", 0),
        "rng": _capture_rng(),
    }
    # left over in the middle of gradient accumulation, or in parameters another stage trains
    state["gradients"] = {
        name: parameter.grad.clone()
        for name, parameter in bare_model(runner).named_parameters()
        if parameter.grad is not None
    }
    for key, component in components(runner):
        if hasattr(component, "state_dict"):
            part = component.state_dict()
            _require_plain(part, f"{key} ({type(component).__name__})")
            state[key] = part
    return state


def restore(runner: Runner, state: dict[str, Any]) -> None:
    """Put `state` back into a freshly built runner. The generators are left to `ResumeHook`."""
    loop = runner.train_loop
    loop._iter = state["iter"]
    if hasattr(loop, "_epoch"):
        loop._epoch = state["epoch"]
    for key, component in components(runner):
        if hasattr(component, "load_state_dict") and key in state:
            component.load_state_dict(state[key])
    _restore_gradients(runner, state["gradients"])


def _restore_gradients(runner: Runner, gradients: dict[str, torch.Tensor]) -> None:
    for name, parameter in bare_model(runner).named_parameters():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device)


def capture_own(runner: Runner) -> dict[str, Any]:
    """What a rank other than 0 has for itself: generators, gradients not yet shared, what its data
    preprocessor holds (a bank), its sampler. Everything else is the same on all ranks."""
    model = bare_model(runner)
    state: dict[str, Any] = {
        "rng": _capture_rng(),
        "gradients": {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        },
    }
    for key, component in _own(runner):
        state[key] = component.state_dict()
        _require_plain(state[key], f"{key} ({type(component).__name__})")
    return state


def restore_own(runner: Runner, state: dict[str, Any]) -> None:
    """Put `capture_own`'s state over what `restore` has put back."""
    for key, component in _own(runner):
        component.load_state_dict(state[key])
    _restore_gradients(runner, state["gradients"])


def _own(runner: Runner) -> Iterator[tuple[str, Any]]:
    yield "preprocessor", bare_model(runner).data_preprocessor
    sampler = runner.train_dataloader.sampler
    if hasattr(sampler, "state_dict"):
        yield "sampler", sampler


def bare_model(runner: Runner) -> Any:
    """The runner's model without the wrapper of distributed training."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


class ResumeHook(Hook):
    """Saves checkpoints into `folder` and restores the newest sound one.

    Of a run on several ranks rank 0 writes one file, which holds what each of the others has for itself.
    All ranks save in the same iteration, when rank 0's time has come. `changed` is afterwards the number
    of ranks that a restored checkpoint was made on, where it is another than today's: what a rank draws
    for itself then begins anew.

    Args:
        folder: where checkpoints lie, as `<iteration>.pth`.
        seconds: least wall time between two of them; 0 saves after every iteration.
        allowed: called before each; raises where the run is another process's by now.
    """

    priority = "VERY_LOW"  # every other hook has finished the iteration

    def __init__(
        self, folder: Path, seconds: float, allowed: Callable[[], None] = lambda: None
    ) -> None:
        self.folder, self.seconds, self.allowed = folder, seconds, allowed
        self._saved = time.monotonic()
        self._saved_iter: int | None = None
        self._rng: dict[str, Any] | None = None
        self.changed: int | None = None

    def load(self, runner: Runner) -> bool:
        """Restore the newest checkpoint that can be read; False if there is none."""
        state = self._newest(runner) if ranks.first() else None
        # a file may be damaged; all ranks take the one that rank 0 could read
        iteration = ranks.agree(-1 if state is None else state["iter"])
        if iteration < 0:
            return False
        if state is None:
            state = load(self._path(iteration))
        restore(runner, state)
        self._rng = state["rng"]
        self._saved_iter = iteration
        rank, now = get_dist_info()
        others = state.get("ranks", [])
        if now != len(others) + 1:
            self.changed = len(others) + 1
        if 0 < rank <= len(others):
            own = ranks.unpacked(others[rank - 1])
            restore_own(runner, own)
            self._rng = own["rng"]
        elif rank:
            self._rng = None
            ranks.own_generators(runner.seed + iteration, rank)
        return True

    def _newest(self, runner: Runner) -> dict[str, Any] | None:
        for path in sorted(self.folder.glob("*.pth"), key=lambda p: int(p.stem), reverse=True):
            try:
                state = load(path)
            except UserError as error:
                runner.logger.warning(f"checkpoint skipped: {error}")
                continue
            if state.get("version") == _VERSION:
                return state
        return None

    def _path(self, iteration: int) -> Path:
        return self.folder / f"{iteration}.pth"

    def restore_rng(self) -> None:
        """Put the generators back, once, when the first iteration after a resume begins.

        Not before: building the DataLoader's iterator draws from torch's generator.
        """
        if self._rng is not None:
            _restore_rng(self._rng)
            self._rng = None

    def save(self, runner: Runner) -> None:
        """Write a checkpoint and drop all but the newest two. Raises OSError (disk full)."""
        iteration = runner.train_loop._iter + 1
        if self._saved_iter == iteration:
            return
        self.allowed()
        others: list[torch.Tensor] = []
        if get_dist_info()[1] > 1:
            own = None if ranks.first() else ranks.packed(capture_own(runner))
            others = ranks.collect(own)
        self._saved, self._saved_iter = time.monotonic(), iteration
        if not ranks.first():
            return
        state = capture(runner)
        if others:
            state["ranks"] = others
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path(iteration)) as temporary:
            torch.save(state, temporary)
        self._saved = time.monotonic()
        for path in sorted(self.folder.glob("*.pth"), key=lambda p: int(p.stem))[:-2]:
            path.unlink(missing_ok=True)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        last = runner.train_loop._iter + 1 >= runner.train_loop.max_iters
        # the last one saves the training from a kill while the model is tested
        if ranks.agree(last or time.monotonic() - self._saved >= self.seconds):
            self.save(runner)


class RestoreGeneratorsHook(Hook):
    """Calls `ResumeHook.restore_rng` before any other hook may draw a random number."""

    priority = "HIGHEST"

    def __init__(self, resume: ResumeHook) -> None:
        self._resume = resume

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._resume.restore_rng()


def _capture_rng() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        # weights_only loading knows tensors, not arrays
        "numpy": [
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            gauss,
        ],
        "python": [version, list(internal), gauss_next],
    }


def _restore_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def _require_plain(value: Any, where: str) -> None:
    """Refuse at the first save what could not be loaded at the resume."""
    if isinstance(value, dict):
        for key, item in value.items():
            _require_plain(key, where)
            _require_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple | set):
        for item in value:
            _require_plain(item, where)
    elif not isinstance(value, _PLAIN):
        raise TypeError(
            f"state of {where} is a {type(value).__name__}; a state_dict may hold tensors, numbers, "
            "strings, lists, tuples and dicts, so that it loads without unpickling"
        )
