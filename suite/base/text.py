"""Texts made safe for the format that they go into.

Names and messages come from records, which may be a stranger's: every format escapes them its own way.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

MAX_TEXT = 100
"""Characters of a name in a table for people. JSON, CSV and Parquet keep all of it."""


def plain(value: Any) -> str:
    """`value` as text on one line, with control, format and other unprintable characters spelled out.

    Format characters include those that turn the writing direction around.
    """
    text = str(value)
    if text.isprintable():
        # almost always; letter by letter, a board of 30,000 rows would take seconds
        return text
    return "".join(
        character
        if character.isprintable()
        else " "
        if character in "\n\r\t"
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def clipped(text: str, width: int = MAX_TEXT) -> str:
    """At most `width` characters: a stranger's name must not make a table of a thousand columns."""
    return text if len(text) <= width else text[: width - 1] + "…"


def csv_text(value: Any) -> Any:
    """A text without control characters and no formula to a spreadsheet; other values as they are."""
    return _csv_escaped(value) if isinstance(value, str) else value


# the cells of a large board hold few different texts
_REMEMBERED = 50_000


@lru_cache(_REMEMBERED)
def _csv_escaped(value: str) -> str:
    text = plain(value)
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@＝＋－＠") else text


def pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_MARKDOWN = {ord(c): "\\" + c for c in r"\`*_{}[]()<>#|~!$"} | {ord("&"): "&amp;"}


@lru_cache(_REMEMBERED)
def markdown(text: str) -> str:
    return plain(text).translate(_MARKDOWN)


_LATEX = {ord(c): "\\" + c for c in "&%$#_{}"} | {
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
    ord("<"): r"\textless{}",
    ord(">"): r"\textgreater{}",
    ord("|"): r"\textbar{}",
    # \textquotedbl is not in LaTeX's default font encoding
    ord('"'): r"{\char34}",
    ord("`"): r"\textasciigrave{}",
    # brackets after \\ would be its optional argument
    ord("["): "{[}",
    ord("]"): "{]}",
    ord("±"): r"$\pm$",
    ord("…"): r"\ldots{}",
}


_ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0304": r"\=",
    "\u0306": r"\u",
    "\u0307": r"\.",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030b": r"\H",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
_LETTERS = {
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}"},
    **{"Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "–": "--", "—": "---", "−": "$-$"},
    **{"×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$", "·": r"$\cdot$"},
    **{"‘": "`", "’": "'", "“": "``", "”": "''"},
    **{"α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\epsilon$"},
    **{"η": r"$\eta$", "θ": r"$\theta$", "κ": r"$\kappa$", "λ": r"$\lambda$", "μ": r"$\mu$"},
    **{"µ": r"$\mu$", "ρ": r"$\rho$", "σ": r"$\sigma$", "τ": r"$\tau$", "φ": r"$\phi$"},
}


@lru_cache(_REMEMBERED)
def latex(text: str) -> str:
    # two hyphens of an option (--seeds) would become a dash
    text = re.sub("-(?=-)", "-{}", plain(text).translate(_LATEX))
    if text.isascii():
        return text
    # composed, so that a letter and its accent are one
    return "".join(c if c.isascii() else _letter(c) for c in unicodedata.normalize("NFC", text))


def _letter(character: str) -> str:
    if character in _LETTERS:
        return _LETTERS[character]
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) == 1 and letter.isascii() and letter.isalpha() and marks[0] in _ACCENTS:
        return f"{_ACCENTS[marks[0]]}{{{letter}}}"
    return f"U+{ord(character):04X}"
