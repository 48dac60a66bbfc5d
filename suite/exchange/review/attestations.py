"""A stranger's word that other code is the same as ours: not believed, and how to find out."""

from __future__ import annotations

import os
import re
from pathlib import Path

from suite.base.bounded import read_file
from suite.base.command import Command
from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.history import ATTESTED, Attestation, parse_attested
from suite.exchange.review.findings import Finding, Review

_MAX_BYTES = 1 << 20
_MAX_SHOWN = 3
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


def mention_attestations(review: Review, catalog: Catalog) -> None:
    """A note on attestations that the folder brings. Only what is attested here counts, so they change nothing
    else."""
    path = review.folder / ATTESTED
    if not os.path.lexists(path):
        return
    known = set(catalog.methods())
    commands = [
        str(Command("attest", one.method, "--since", one.commit))
        for one in _attested(path)
        # it is there to be typed
        if one.method in known and _COMMIT.fullmatch(one.commit)
    ]
    shown = [*dict.fromkeys(commands)] or [str(Command("attest", "METHOD", "--since", "COMMIT"))]
    more = f"; and {len(shown) - _MAX_SHOWN} more" if len(shown) > _MAX_SHOWN else ""
    text = "somebody else's attestation is not believed; to repeat it here: "
    review.findings.append(Finding(ATTESTED, "note", text + "; ".join(shown[:_MAX_SHOWN]) + more))


def _attested(path: Path) -> list[Attestation]:
    try:
        return parse_attested(read_file(path, _MAX_BYTES), Path(path.name))
    except (OSError, UserError, RecursionError):
        return []
