"""Protocols that a user brings: another network or training than a protocol's, or initial weights.

    <root>/protocols/<hash>.json            what such a protocol is, named by the protocol's hash
    <root>/weights/<sha256>.safetensors     its initial weights (or `.pth`), named by their content

So a variant is known wherever its runs are: to workers, cluster jobs and every verb. Nothing of these
files is executed: settings are JSON, which the task validates (`Bring`), and the hash is
computed anew on reading, so that a file can neither stand for another protocol nor hide a built-in one.
The path that weights came from is told to people and never opened.

Here they are read and made; `suite.define.bring` takes what a command line names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from suite.base.bounded import read_regular
from suite.base.canonical import short_hash
from suite.base.errors import RecordError, UserError
from suite.base.files import write_atomic
from suite.define.protocol import Protocol
from suite.define.protocols import with_hash
from suite.define.task import Ability, Task

SCHEMA = 1
MAX_BYTES = 1 << 20
"""Of a variant's file: a large network's config has some ten thousand characters."""
MAX_FILES = 1000
_FILE = re.compile(r"([0-9a-f]{12})\.json", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
LABEL = re.compile(r"[a-z0-9][a-z0-9_.]{0,39}", re.ASCII)


@dataclass(frozen=True)
class Initial:
    """Initial weights: a `.safetensors` or torch file, and the SHA-256 it must have."""

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Bring:
    """How a task makes protocols of what users bring.

    Attributes:
        read: (config file, base protocol, whether initial weights are given) -> settings as JSON data, and
            lines on what was left out. Executes the file. Raises UserError.
        check: (base, settings or None, initial weights or None) -> lines for the user. Tries out what is
            about to be trained: builds the network, reads the weights. Raises UserError.
        make: (base, settings or None, initial weights or None) -> protocol. Nothing heavy: neither data nor
            weights are read. Its `recipe` is a digest of the settings alone; name, `init` and the digest
            with the base's are put in by the caller. The settings may be a stranger's: raises UserError
            for whatever `read` does not give.
        taken: settings -> what they replace, in words (`network, schedule`).
    """

    read: Callable[[Path, Protocol, bool], tuple[dict[str, Any], tuple[str, ...]]]
    check: Callable[[Protocol, Mapping[str, Any] | None, Initial | None], list[str]]
    make: Callable[[Protocol, Mapping[str, Any] | None, Initial | None], Protocol]
    taken: Callable[[Mapping[str, Any]], str]


BRING = Ability[Bring]("variants")


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
    root: Path, names: tuple[str, ...], tasks: Mapping[str, Task], known: Container[str]
) -> tuple[dict[str, tuple[Variant, Protocol]], list[str]]:
    """The variants below `root` that are not `known` by their hash, hash -> variant and protocol; and a line on
    every file that is none. Such a file hides nothing: its runs are those of an unknown protocol."""
    made: dict[str, tuple[Variant, Protocol]] = {}
    problems: list[str] = []
    if len(names) > MAX_FILES:
        problems.append(f"{root / 'protocols'}: {len(names)} files; the first {MAX_FILES} are read")
    taken = {(t.name, name) for t in tasks.values() for name in t.protocols.names}
    for name in names[:MAX_FILES]:
        path = root / "protocols" / name
        match = _FILE.fullmatch(name)
        try:
            if match is None:
                raise RecordError("is not named by a protocol's hash")
            if match[1] in known:
                continue
            variant, protocol = _read(path, match[1], root, tasks, known)
            if (variant.task, protocol.name) in taken:
                raise RecordError(f"the name {protocol.name!r} is taken")
        except (UserError, RecordError) as error:
            # asked last: all protocols are built to know
            every = (task.protocols for task in tasks.values())
            of_suite = match is not None and with_hash(every, match[1]) is not None
            why = "stands in for a protocol of the suite" if of_suite else error
            problems.append(f"{path}: {why}; left out")
            continue
        taken.add((variant.task, protocol.name))
        made[match[1]] = variant, protocol
    return made, problems


def _read(
    path: Path, hash_: str, root: Path, tasks: Mapping[str, Task], known: Container[str]
) -> tuple[Variant, Protocol]:
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
    task = tasks.get(variant.task)
    rules = BRING.of(task) if task is not None else None
    if task is None or rules is None:
        raise RecordError(f"is of task {variant.task[:60]!r}, which takes no variants here")
    if variant.settings is None and variant.label:
        raise RecordError("has a label but no settings")
    if variant.settings is None and variant.weights is None:
        raise RecordError("changes nothing of its protocol")
    if variant.settings is not None and not LABEL.fullmatch(variant.label):
        raise RecordError("has a label that no config file gives")
    given = variant.weights
    if given and not (_SHA256.fullmatch(given.sha256) and given.suffix in (".safetensors", ".pth")):
        raise RecordError("names its weights by something that is no SHA-256")
    base = task.protocols.get(variant.base)
    if base is None or base.hash in known:
        raise RecordError(f"is made from protocol {variant.base[:60]!r}, which is not known here")
    again, made = make(variant, base, rules, root)
    if made.hash != hash_:
        raise RecordError(
            f"is protocol {made.hash} by its content: changed since it was written, or {base.name!r} "
            "was another one then"
        )
    if variant.name != again.name:
        raise RecordError(f"calls itself {variant.name[:60]!r}, but is {again.name!r}")
    return variant, made


def write(brought: Mapping[str, tuple[Variant, Protocol]], root: Path) -> None:
    """Write variants that were read elsewhere below `root`. Raises OSError."""
    for hash_, (variant, _) in brought.items():
        path = root / "protocols" / f"{hash_}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encode(variant))


# -- the protocol of a variant


def make(variant: Variant, base: Protocol, rules: Bring, root: Path) -> tuple[Variant, Protocol]:
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
        made = replace(
            made,
            name=name,
            summary=f"{base.name} with {' and '.join(changes)}",
            carve=None if base.carve is None else lambda: _carved(variant, base, rules, root),
        )
        return msgspec.structs.replace(variant, name=name), made
    except (ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"its settings are no JSON data ({error})") from None


def _carved(variant: Variant, base: Protocol, rules: Bring, root: Path) -> Protocol:
    """What was brought, of the base whose training leaves a validation set out."""
    assert base.carved is not None
    return make(variant, base.carved, rules, root)[1]


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


def short_names(name: str) -> set[str]:
    """The words of a variant's name, and the user's without their digests."""
    words = name.partition(":")[2].split(",")
    return {*words, *(re.sub(r"-[0-9a-f]{8}$", "", word) for word in words)}


def described(variant: Variant) -> dict[str, Any]:
    """A variant for `tasks --format json`."""
    weights = msgspec.structs.asdict(variant.weights) if variant.weights else None
    return {"base": variant.base, "settings": variant.settings, "weights": weights}


def encode(variant: Variant) -> bytes:
    return msgspec.json.format(msgspec.json.encode(variant), indent=1)
