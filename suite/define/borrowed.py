"""What a card takes from elsewhere: another method's parameter, an entry of a bibliography."""

import re
from collections.abc import Mapping
from pathlib import Path

from suite.base.errors import UserError, did_you_mean
from suite.define.card import Card, Param, WrittenCard, check_card

BIBLIOGRAPHY = "references.bib"
"""Name of the file at the top of a package of methods."""

_ENTRY = re.compile(r"@\w+\s*\{\s*([^\s,{}]+)\s*,")


def read_bibliography(path: Path) -> dict[str, str]:
    """Key -> text of every BibTeX entry; none where there is no file. What stands between entries is not
    looked at.

    Raises UserError: unreadable, an entry without its last brace, two of one key.
    """
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    entries: dict[str, str] = {}
    end = 0
    while match := _ENTRY.search(text, end):
        key = match[1]
        end = _closed(text, match.start())
        if not end:
            raise UserError(f"{path}: entry {key!r} has no closing brace")
        if key in entries:
            raise UserError(f"{path}: two entries are called {key!r}")
        entries[key] = text[match.start() : end]
    return entries


def _closed(text: str, start: int) -> int:
    """Where the first braces that open after `start` have closed again; 0 if they do not."""
    depth = 0
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return start + brace.end()
    return 0


def complete(
    path: Path,
    card: WrittenCard,
    cards: Mapping[str, WrittenCard],
    bibliography: Mapping[str, str],
) -> Card:
    """The card of file `path` with the parameters of other methods (method -> card) and its BibTeX.

    Raises UserError: a method, parameter or entry that there is not, a parameter that comes back to
    itself, and what `check_card` refuses.
    """
    params = {
        key: _param(path, key, said, cards) if isinstance(said, str) else said
        for key, said in card.params.items()
    }
    rest = {name: getattr(card, name) for name in Card.__struct_fields__}
    rest |= {"params": params, "bibtex": _bibtex(path, card, bibliography)}
    made = Card(**rest)
    check_card(made, path)
    return made


def _param(path: Path, key: str, method: str, cards: Mapping[str, WrittenCard]) -> Param:
    """Parameter `key` of `method`, which may have taken it from another one in its turn."""
    where = f"{path}: parameter {key!r}"
    passed: list[str] = []
    said: Param | str = method
    while isinstance(said, str):
        if said in passed:
            raise UserError(
                f"{where}: {' takes it from '.join([*passed, said])}; one must define it"
            )
        if said not in cards:
            raise UserError(
                f"{where}: is taken from {said!r}, which is no method{did_you_mean(said, cards)}"
            )
        passed.append(said)
        params = cards[said].params
        if key not in params:
            raise UserError(
                f"{where}: is taken from {said!r}, which has no such parameter"
                f"{did_you_mean(key, params)}"
            )
        said = params[key]
    return said


def _bibtex(path: Path, card: WrittenCard, bibliography: Mapping[str, str]) -> str:
    keys = [card.cite] if isinstance(card.cite, str) else card.cite
    if not keys:
        return card.bibtex
    if card.bibtex:
        raise UserError(f"{path}: CARD has both 'cite' and 'bibtex'; leave one out")
    for key in keys:
        if key not in bibliography:
            raise UserError(
                f"{path}: cite: {BIBLIOGRAPHY} has no entry {key!r}{did_you_mean(key, bibliography)}"
            )
    return "\n".join(bibliography[key] for key in keys)
