"""Earlier code of a method that is the same as today's: by the change of the digest's form, or attested.

    results/digests-v1.toml     method = [digest of version 1, digest of version 2 of the same files]
    results/attested.toml       changes of code that `python -m suite attest` has found to change nothing

Both belong to the code, like a test: what lies in a results folder is never read for it.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from suite.base.errors import UserError
from suite.base.shipped import shipped

_T = TypeVar("_T")
FROZEN, ATTESTED = "digests-v1.toml", "attested.toml"


class Attestation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a method's code that changes nothing that it computes.

    Attributes:
        method: its name.
        before, after: digests of its file (`suite.define.digest.method_digest`).
        commit: the 40 hex digits of the commit whose code was held against the later one.
        protocols: names of the protocols it was trained under, each with its hash.
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
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())[:300]}") from None
