"""The one way weights and checkpoints come in: safetensors, or torch.load(weights_only=True)."""

from __future__ import annotations

import _compat_pickle
import io
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from suite.base.errors import UserError

# what mmengine's own checkpoints hold beside tensors and plain containers; nothing is added at run
# time, and there is no fallback to unpickling
_ALLOWED = [
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    type(np.dtype(np.float64)),
    type(np.dtype(np.int64)),
]


class _LeftOut:
    """Stands for whatever a file holds beside tensors and plain containers: it takes anything, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __new__(cls, *_: Any, **__: Any) -> _LeftOut:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


class _LeftOutMapping:
    """The same for a kind of dict, by its name: what is put into it is kept, since torch fills no other object."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def load(path: Path, *, only_tensors: bool = False) -> dict[str, Any]:
    """Content of a `.safetensors` or torch file, on the CPU. Raises UserError; never unpickles.

    With `only_tensors` an object of a class or function that torch does not rebuild (mmengine's message hub, an
    `argparse.Namespace`, numpy's numbers) is left out, so that the tensors beside it can be had: something inert stands
    in its place, and nothing of it is looked up, imported or called.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        named: list[Any] = _ALLOWED
        if only_tensors:
            stand_in = {True: _LeftOutMapping, False: _LeftOut}
            named = [(stand_in[name.lower().endswith("dict")], name) for name in _globals(path)]
        with torch.serialization.safe_globals(named):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights file") from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        why = _other_form(path) or f"damaged weights file ({_line(error)})"
        raise UserError(f"{path}: {why}") from None
    except Exception as error:  # UnpicklingError: something that is not plain data
        why = _other_form(path) or f"holds more than tensors and is not loaded ({_line(error)})"
        raise UserError(f"{path}: {why}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a dict of tensors")
    return content


def _globals(path: Path) -> set[str]:
    """`module.name` of everything that a torch file's pickles name, in its zip form or the one before it. Reads opcodes;
    builds nothing. Raises ValueError where there are none to be read."""
    names: set[str] = set()
    with open(path, "rb") as file:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = [name for name in archive.namelist() if name.endswith("/data.pkl")]
                pickles: list[Any] = [io.BytesIO(archive.read(name)) for name in inner]
        else:
            # magic number, protocol, system, content: one after the other
            pickles = [file] * 4
        for one in pickles:
            for opcode, argument, _ in pickletools.genops(one):
                if opcode.name == "GLOBAL":
                    module, _, name = str(argument).partition(" ")
                    # as they were called under Python 2, whose protocol torch writes
                    pair = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
                    names.add(f"{_compat_pickle.IMPORT_MAPPING.get(pair[0], pair[0])}.{pair[1]}")
    return names


def _other_form(path: Path) -> str:
    """What a file is that is not of the form its name says, and what to do; "" where it may be damaged, or cannot be
    read."""
    try:
        with open(path, "rb") as file:
            head = file.read(9)
        packed = zipfile.is_zipfile(path)
        if packed:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return ""
    tensors = len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30
    torchs = any(name.endswith("data.pkl") for name in names) if packed else head[:1] == b"\x80"
    if path.suffix == ".safetensors":
        return "is a torch file; rename it to end with .pth" if torchs else ""
    if tensors:
        return "is a safetensors file; rename it to end with .safetensors"
    damaged = torchs or not head or (head[:2] == b"PK" and not packed)
    return "" if damaged else "no weights file; give a .pth or .safetensors file"


def _line(error: Exception) -> str:
    text = str(error)
    if text.startswith("Weights only load failed"):
        # not what torch says then: how to have it executed
        named = re.search(r"GLOBAL ([\w.]+)", text)
        return f"it names {named[1]}" if named else "a pickle that is no plain data"
    return (text.splitlines() or [type(error).__name__])[0][:200]


def per_instance(model: torch.nn.Module) -> set[str]:
    """Names, as in `state_dict()`, of what the model holds of single training samples (labels estimated for them, say).

    A module tells it in an attribute `per_instance`, names of its own parameters and buffers. Checkpoints have them;
    kept weights have not: they mean nothing for other data, and say nothing of what the model predicts. Raises
    AttributeError for a name that the module has not.
    """
    found = set()
    for path, module in model.named_modules():
        for name in getattr(module, "per_instance", ()):
            getattr(module, name)
            found.add(f"{path}.{name}" if path else name)
    return found


def model_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights worth keeping: tensors of the model without its data preprocessor's (banks), and without those of
    single training samples (`per_instance`)."""
    aside = per_instance(model)
    return {
        key: value.detach().cpu().contiguous()
        for key, value in model.state_dict().items()
        if isinstance(value, torch.Tensor)
        and not key.startswith("data_preprocessor.")
        and key not in aside
    }


def save(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file."""
    from safetensors.torch import save_file

    # shared storage (tied weights) is refused by safetensors: give each its own
    seen: set[int] = set()
    for key, value in weights.items():
        if value.data_ptr() in seen:
            weights[key] = value.clone()
        seen.add(value.data_ptr())
    save_file(weights, path)


def restore(model: torch.nn.Module, path: Path, skip: Sequence[str] = ()) -> None:
    """Load kept weights into a model of the same shape; names that begin with one in `skip` are left as
    they are, and so is what belongs to single training samples (`per_instance`). Raises UserError where the rest does
    not fit: another backbone, or another kind of head."""
    left = tuple(skip)
    aside = per_instance(model)
    weights = {
        key: value
        for key, value in load(path).items()
        if not key.startswith(left) and key not in aside
    }
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: does not fit the network ({text})") from None
    kept_out = ("data_preprocessor.", *left)
    missing = [key for key in missing if key not in aside and not key.startswith(kept_out)]
    if missing or unexpected:
        odd = (missing or unexpected)[0]
        more = len(missing) + len(unexpected) - 1
        raise UserError(
            f"{path}: does not fit the network ({odd!r} and {more} more); take weights of a run with the "
            "same kind of head"
        )
