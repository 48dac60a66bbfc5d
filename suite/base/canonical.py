"""Canonical JSON, of which identities are hashes."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """Canonical JSON: keys sorted, no spaces, shortest float form. Refuses NaN and infinities."""
    encoded = _encoder.encode(value)
    # JSON has no NaN; msgspec writes null, and two different specs would share an identity
    if b"null" in encoded:
        _refuse_nonfinite(value)
    return encoded


def short_hash(value: Any, length: int = 12) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()[:length]


def _refuse_nonfinite(value: Any) -> None:
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{value} has no JSON form and cannot be part of an identity")
    elif isinstance(value, dict):
        for item in value.values():
            _refuse_nonfinite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_nonfinite(item)
