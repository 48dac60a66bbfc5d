"""Variants of protocols as a command line asks for them: a config file, initial weights (`suite.define.variants`)."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from suite.base.aside import aside
from suite.base.errors import UserError
from suite.base.files import atomic_path, write_atomic
from suite.base.settings import writable_root
from suite.define.catalog import Catalog
from suite.define.protocol import CARVED, Protocol
from suite.define.task import Task
from suite.define.variants import (
    BRING,
    LABEL,
    Initial,
    Variant,
    Weights,
    encode,
    found,
    listing,
    make,
    weights_path,
    write,
)


@dataclass(frozen=True)
class Brought:
    """A variant as a command line asked for it.

    catalog: knows it; protocol: it; source: the file with its initial weights, None where they lie below
    the root already; notes: lines for the user.
    """

    catalog: Catalog
    protocol: Protocol
    variant: Variant
    source: Path | None
    notes: tuple[str, ...] = ()


@aside()
def bring(
    catalog: Catalog,
    task: Task,
    under: Protocol,
    root: Path,
    config: Path | None,
    pretrained: Path | None,
) -> Brought:
    """The variant of protocol `under` with the settings of a config file, with initial weights, or both.

    The file is executed, once. A variant that is not below `root` yet is tried out: the network is built
    and the weights are held against it. Nothing is written. Raises UserError, one line, for every way in
    which a file may be wrong.
    """
    if under.name.endswith(CARVED):
        whole = task.protocols[under.name.removesuffix(CARVED)]
        brought = bring(catalog, task, whole, root, config, pretrained)
        carved = brought.protocol.carved
        assert carved is not None  # as that of its base is not
        return replace(brought, protocol=carved)
    flag = "--base-config" if config is not None else "--pretrained"
    rules = BRING.of(task)
    if rules is None:
        having = ", ".join(n for n, t in sorted(catalog.tasks().items()) if BRING.of(t)) or "none"
        raise UserError(f"{flag}: task {task.name!r} takes none; tasks that do: {having}")
    before = catalog.variants.get(under.hash)
    base = catalog.protocol(task, before.base) if before else under
    label, settings = (before.label, before.settings) if before else ("", None)
    weights = before.weights if before else None
    notes: tuple[str, ...] = ()
    source = None
    if pretrained is not None:
        source = pretrained.expanduser().absolute()
        weights = _weights(source)
    if config is not None:
        path = config.expanduser().absolute()
        label = _label(path)
        settings, notes = rules.read(path, base, weights is not None)
    variant = Variant(
        task=task.name, base=base.name, label=label, settings=settings, weights=weights
    )
    variant, made = make(variant, base, rules, root)
    known = catalog.variants.get(made.hash)
    if known is not None:
        # the same content from another file: it keeps its first name
        same = catalog.accepted(task, made.hash, known.name) or made
        return Brought(catalog, same, known, source, notes)
    _check_name(catalog, task, made)
    initial = None
    if weights is not None:
        initial = Initial(source or weights_path(root, weights), weights.sha256)
    notes += tuple(rules.check(base, settings, initial))
    return Brought(catalog.having({made.hash: (variant, made)}), made, variant, source, notes)


def keep(brought: Brought, root: Path) -> None:
    """Write the variant below `root`, and a copy of its initial weights, unless they are there.

    Raises UserError: weights that have changed since they were read, a disk that is full.
    """
    writable_root(root)
    variant = brought.variant
    try:
        if variant.weights is not None and brought.source is not None:
            _keep_weights(brought.source, variant.weights, weights_path(root, variant.weights))
        # the file is of the whole, whose carved protocol follows from it
        whole = brought.catalog.task(variant.task).protocols[variant.name]
        path = root / "protocols" / f"{whole.hash}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, encode(variant))
    except OSError as error:
        raise UserError(f"--root {root}: cannot be written ({error.strerror or error})") from None


def _keep_weights(source: Path, weights: Weights, kept: Path) -> None:
    if kept.exists() and _sha256(kept) == weights.sha256:
        return
    kept.parent.mkdir(exist_ok=True)
    with atomic_path(kept) as temporary:
        shutil.copyfile(source, temporary)
        if _sha256(temporary) != weights.sha256:
            raise UserError(f"--pretrained {source}: changed while it was read; run again")


def _weights(path: Path) -> Weights:
    suffix = ".safetensors" if path.suffix == ".safetensors" else ".pth"
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file"
            raise UserError(f"--pretrained {path}: {what}; give a .pth or .safetensors file")
        return Weights(sha256=_sha256(path), suffix=suffix, source=str(path))
    except OSError as error:
        raise UserError(f"--pretrained {path}: {error.strerror or error}") from None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _label(path: Path) -> str:
    """The file's name as a part of a protocol's: `My cfg.py` -> `my_cfg`."""
    label = re.sub(r"[^a-z0-9_.]+", "_", path.stem.lower()).strip("_.")[:40]
    return label if LABEL.fullmatch(label) else "config"


def adopt(other: Path, root: Path, catalog: Catalog) -> int:
    """Write the variants of another results root into this one; `catalog` knows those here.

    They are written anew from what was read, without weights: nothing that was trained needs them.
    Returns how many came. Raises OSError.
    """
    brought, _ = found(other, listing(other), catalog.tasks(), catalog.variants)
    write(brought, root)
    return len(brought)


def _check_name(catalog: Catalog, task: Task, made: Protocol) -> None:
    if made.name in task.protocols.names:
        raise UserError(f"the name {made.name!r} is taken by another protocol; rename the file")
