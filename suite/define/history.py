"""Earlier code of a method that is the same as today's: by the change of the digest's form, or attested.

    results/digests-v1.toml     method = [digest of version 1, digest of version 2 of the same files]
    results/attested.toml       changes of code that `python -m suite attest` has found to change nothing

Both belong to the code, like a test: what lies in a results folder is never read for it.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from suite.base.errors import UserError
from suite.base.files import write_atomic
from suite.base.shipped import shipped

_T = TypeVar("_T")
FROZEN, ATTESTED = "digests-v1.toml", "attested.toml"


class Attestation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a method's code that changes nothing that it computes.

    Attributes:
        method: its name.
        before, after: digests of its file (`suite.define.digest.method_digest`).
        commit: the 40 hex digits of the commit whose code was held against the later one.
        protocols: `task/protocol` that it was trained under -> the protocol's hash.
        evidence: SHA-256 over the predictions, weights and scores that both codes gave, which were equal
            byte for byte.
    """

    method: str
    before: str
    after: str
    commit: str
    protocols: dict[str, str]
    evidence: str


class _Attested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    attested: list[Attestation] = []


def read_attested(path: Path) -> list[Attestation]:
    """The attestations of a file, none where there is no file. Raises UserError: not what it has to be."""
    return _read(path, _Attested).attested if path.exists() else []


def parse_attested(content: bytes, path: Path) -> list[Attestation]:
    """The attestations in the content of a file called `path`. Raises UserError."""
    return _parse(content, path, _Attested).attested


_HEADER = """\
# Changes of methods' code that change nothing of what they compute: trained with the code of `commit` and with the
# code of the day, every prediction, weight and score was equal byte for byte. Written by `python -m suite attest`;
# what was recorded under the digest `before` counts for as long as the digest is `after`.
"""


def add_attested(path: Path, new: Attestation) -> None:
    """Put an attestation among those of a file, in place of one of the same change. Atomic. Raises UserError
    where what is there cannot be read."""
    kept = {_place(one): one for one in [*read_attested(path), new]}
    lines = [_HEADER]
    for _, one in sorted(kept.items()):
        values = {**msgspec.structs.asdict(one), "protocols": None}
        lines += ["\n[[attested]]\n"]
        lines += [f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None]
        named = (f"{_toml(name)} = {_toml(hash_)}" for name, hash_ in sorted(one.protocols.items()))
        lines += [f"protocols = {{ {', '.join(named)} }}\n"]
    write_atomic(path, "".join(lines).encode())


def _place(one: Attestation) -> tuple[str, str, str]:
    return one.method, one.before, one.after


def _toml(text: str) -> str:
    # of printable text, JSON's form is TOML's
    return json.dumps(text)


@dataclass(frozen=True)
class History:
    """Which digests of methods' files stand for the same code.

    Attributes:
        frozen, attested: the files; they need not exist.
    """

    frozen: Path
    attested: Path

    @classmethod
    def shipped(cls) -> History:
        return cls(shipped(FROZEN), shipped(ATTESTED))

    @cached_property
    def token(self) -> str:
        """Changes with the files."""
        whole = hashlib.sha256()
        for path in (self.frozen, self.attested):
            try:
                whole.update(path.read_bytes())
            except OSError:
                whole.update(b"-")
        return whole.hexdigest()[:12]

    @cached_property
    def _changes(self) -> Mapping[str, list[tuple[str, str]]]:
        """Method -> (digest before, digest after)."""
        found: dict[str, list[tuple[str, str]]] = {}
        if self.frozen.exists():
            for method, (first, second) in _read(self.frozen, dict[str, tuple[str, str]]).items():
                found.setdefault(method, []).append((first, second))
        for one in read_attested(self.attested):
            found.setdefault(one.method, []).append((one.before, one.after))
        return found

    def before(self, method: str, today: str) -> frozenset[str]:
        """Earlier digests that lead to `today`, over any number of changes. Raises UserError."""
        return _leading_to(today, self._changes.get(method, ())) - {today}


def _leading_to(today: str, changes: Iterable[tuple[str, str]]) -> frozenset[str]:
    known = {today}
    while more := {before for before, after in changes if after in known} - known:
        known |= more
    return frozenset(known)


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error}") from None
    return _parse(content, path, kind)


def _parse(content: bytes, path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(tomllib.loads(content.decode("utf-8")), kind)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())[:300]}") from None
