"""Protocols that a user brings: another network or training than a protocol's, or initial weights.

    <root>/protocols/<hash>.json            what such a protocol is, named by the protocol's hash
    <root>/weights/<sha256>.safetensors     its initial weights (or `.pth`), named by their content

So a variant is known wherever its runs are: to workers, cluster jobs and every verb. Nothing of these
files is executed: settings are JSON, which the task validates (`suite.define.task.Bring`), and the hash is
computed anew on reading, so that a file can neither stand for another protocol nor hide a built-in one.
The path that weights came from is told to people and never opened.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from suite.base.bounded import read_regular
from suite.base.canonical import short_hash
from suite.base.errors import RecordError, UserError
from suite.base.files import atomic_path, write_atomic
from suite.base.settings import writable_root
from suite.define.protocol import Protocol
from suite.define.task import Bring, Initial, Task

if TYPE_CHECKING:
    from suite.define.catalog import Catalog

SCHEMA = 1
MAX_BYTES = 1 << 20
"""Of a variant's file: a large network's config has some ten thousand characters."""
MAX_FILES = 1000
_FILE = re.compile(r"([0-9a-f]{12})\.json", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.]{0,39}", re.ASCII)


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Initial weights: SHA-256 of the file as it was given, its format, and where it lay."""

    sha256: str
    suffix: str = ".safetensors"
    source: str = ""


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file of a variant holds.

    Attributes:
        task: the task that understands `settings`.
        base: name of the protocol that it is made from; its hash is covered by the variant's.
        name: the protocol's own name; follows from all the rest.
        label: from the name of the config file, "" without one.
        settings: what was taken from the config file, as the task's `Bring.read` gave it.
        weights: initial weights.
    """

    schema: int = SCHEMA
    task: str
    base: str
    name: str = ""
    label: str = ""
    settings: dict[str, Any] | None = None
    weights: Weights | None = None

    @property
    def flags(self) -> str:
        """The options it was brought with, for messages."""
        given = [("--base-config", self.settings), ("--pretrained", self.weights)]
        return " ".join(flag for flag, value in given if value is not None)


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


# -- from the command line


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
    flag = "--base-config" if config is not None else "--pretrained"
    rules = task.bring
    if rules is None:
        having = ", ".join(n for n, t in sorted(catalog.tasks().items()) if t.bring) or "none"
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
    variant, made = _make(variant, base, rules, root)
    known = catalog.variants.get(made.hash)
    if known is not None:
        # the same content from another file: it keeps its first name
        return Brought(catalog, catalog.protocols[made.hash], known, source, notes)
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
        path = root / "protocols" / f"{brought.protocol.hash}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, _encode(variant))
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
    return label if _LABEL.fullmatch(label) else "config"


# -- below a results root


def weights_path(root: Path, weights: Weights) -> Path:
    """Where initial weights lie: named by their content, so that moving the original harms nothing."""
    return root / "weights" / f"{weights.sha256}{weights.suffix}"


def listing(root: Path) -> tuple[str, ...]:
    """Names of the files below `<root>/protocols`, sorted."""
    try:
        names = os.listdir(root / "protocols")
    except OSError:
        return ()
    return tuple(sorted(name for name in names if not name.startswith(".")))


def found(
    root: Path, names: tuple[str, ...], catalog: Catalog
) -> tuple[dict[str, tuple[Variant, Protocol]], list[str]]:
    """The variants below `root` that `catalog` does not know, hash -> variant and protocol; and a line on
    every file that is none. Such a file hides nothing: its runs are those of an unknown protocol."""
    made: dict[str, tuple[Variant, Protocol]] = {}
    problems: list[str] = []
    if len(names) > MAX_FILES:
        problems.append(f"{root / 'protocols'}: {len(names)} files; the first {MAX_FILES} are read")
    taken = {(t.name, p.name) for t in catalog.tasks().values() for p in t.protocols}
    for name in names[:MAX_FILES]:
        path = root / "protocols" / name
        match = _FILE.fullmatch(name)
        try:
            if match is None:
                raise RecordError("is not named by a protocol's hash")
            if match[1] in catalog.protocols:
                if match[1] not in catalog.variants:
                    raise RecordError("stands in for a protocol of the suite")
                continue
            variant, protocol = _read(path, match[1], root, catalog)
            if (variant.task, protocol.name) in taken:
                raise RecordError(f"the name {protocol.name!r} is taken")
        except (UserError, RecordError) as error:
            problems.append(f"{path}: {error}; left out")
            continue
        taken.add((variant.task, protocol.name))
        made[match[1]] = variant, protocol
    return made, problems


def _read(path: Path, hash_: str, root: Path, catalog: Catalog) -> tuple[Variant, Protocol]:
    """Raises RecordError or UserError: not a variant of a protocol that is known here, or not the one its
    name says."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"larger than {MAX_BYTES >> 10} KiB")
        variant = msgspec.json.decode(read_regular(path), type=Variant)
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror or error})") from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"damaged ({error})") from None
    if variant.schema != SCHEMA:
        raise RecordError(f"schema {variant.schema}, not {SCHEMA}: of another version of the suite")
    task = catalog.tasks().get(variant.task)
    if task is None or task.bring is None:
        raise RecordError(f"is of task {variant.task[:60]!r}, which takes no variants here")
    if variant.settings is None and variant.label:
        raise RecordError("has a label but no settings")
    if variant.settings is None and variant.weights is None:
        raise RecordError("changes nothing of its protocol")
    if variant.settings is not None and not _LABEL.fullmatch(variant.label):
        raise RecordError("has a label that no config file gives")
    given = variant.weights
    if given and not (_SHA256.fullmatch(given.sha256) and given.suffix in (".safetensors", ".pth")):
        raise RecordError("names its weights by something that is no SHA-256")
    own = [p for p in task.protocols if p.hash not in catalog.variants and p.name == variant.base]
    if not own:
        raise RecordError(f"is made from protocol {variant.base[:60]!r}, which is not known here")
    again, made = _make(variant, own[0], task.bring, root)
    if made.hash != hash_:
        raise RecordError(
            f"is protocol {made.hash} by its content: changed since it was written, or {own[0].name!r} "
            "was another one then"
        )
    if variant.name != again.name:
        raise RecordError(f"calls itself {variant.name[:60]!r}, but is {again.name!r}")
    return variant, made


def adopt(other: Path, root: Path, catalog: Catalog) -> int:
    """Write the variants of another results root into this one; `catalog` knows those here.

    They are written anew from what was read, without weights: nothing that was trained needs them.
    Returns how many came. Raises OSError.
    """
    brought, _ = found(other, listing(other), catalog)
    write(brought, root)
    return len(brought)


def write(brought: Mapping[str, tuple[Variant, Protocol]], root: Path) -> None:
    """Write variants that were read elsewhere below `root`. Raises OSError."""
    for hash_, (variant, _) in brought.items():
        path = root / "protocols" / f"{hash_}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _encode(variant))


# -- the protocol of a variant


def _make(variant: Variant, base: Protocol, rules: Bring, root: Path) -> tuple[Variant, Protocol]:
    """The variant with its name, and its protocol. Raises UserError for settings that are none."""
    weights = variant.weights
    initial = Initial(weights_path(root, weights), weights.sha256) if weights else None
    try:
        made = rules.make(base, variant.settings, initial)
        if variant.settings is not None:
            made = replace(made, recipe=short_hash({"base": base.recipe, "config": made.recipe}))
        if weights is not None:
            made = replace(made, init=weights.sha256)
        name = _name(base, made, variant)
        changes = []
        if variant.settings is not None:
            changes.append(f"{rules.taken(variant.settings)} of {variant.label}")
        if weights is not None:
            changes.append(f"initial weights {weights.sha256[:8]}")
        made = replace(made, name=name, summary=f"{base.name} with {' and '.join(changes)}")
        return msgspec.structs.replace(variant, name=name), made
    except (ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"its settings are no JSON data ({error})") from None


def _name(base: Protocol, made: Protocol, variant: Variant) -> str:
    """`camvid:half,my_cfg-1a2b3c4d,pretrained-5e6f7a8b`: digests make it unique, in the same word as the
    user's label, so that no label reads as a variant that methods have defaults for."""
    head, _, rest = base.name.partition(":")
    parts = [part for part in rest.split(",") if part]
    if made.backbone != base.backbone:
        parts = [part for part in parts if part != base.backbone]
    if variant.settings is not None:
        parts.append(f"{variant.label}-{made.recipe[:8]}")
    if variant.weights is not None:
        parts.append(f"pretrained-{variant.weights.sha256[:8]}")
    return f"{head}:{','.join(parts)}"


def _check_name(catalog: Catalog, task: Task, made: Protocol) -> None:
    if any(protocol.name == made.name for protocol in task.protocols):
        raise UserError(f"the name {made.name!r} is taken by another protocol; rename the file")


def short_names(name: str) -> set[str]:
    """The words of a variant's name, and the user's without their digests."""
    words = name.partition(":")[2].split(",")
    return {*words, *(re.sub(r"-[0-9a-f]{8}$", "", word) for word in words)}


def described(variant: Variant) -> dict[str, Any]:
    """A variant for `tasks --format json`."""
    weights = msgspec.structs.asdict(variant.weights) if variant.weights else None
    return {"base": variant.base, "settings": variant.settings, "weights": weights}


def _encode(variant: Variant) -> bytes:
    return msgspec.json.format(msgspec.json.encode(variant), indent=1)
