"""Statements on the page Claims: what is said, what has been held against it, and what our runs say of it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import say, tables
from suite.boards.statements import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Finding, counted
from suite.claims.statement import spoken
from suite.render.table import Column, Sheet

COLOURS = {SUPPORTED: "green", NOT_SUPPORTED: "red", UNDECIDED: "orange"}
"""Status -> colour of its badge, which is grey for what was not tested."""


def show(name: str, found: Sequence[Finding]) -> None:
    """A paragraph a statement with a line a test, and all of it as a table; `name` is the task's."""
    st.markdown(f"**Statements about {say.words(name)}**")
    say.note(counted(found))
    of: dict[int, list[Finding]] = {}
    for made in found:
        of.setdefault(id(made.statement), []).append(made)
    for number, members in enumerate(of.values(), 1):
        _one(number, members)
    commands = list(dict.fromkeys(str(made.next) for made in found if made.next is not None))
    if commands:
        with st.expander("Runs that would tell more"):
            st.code("\n".join(commands), language=None)
    with st.expander("As a table"):
        tables.show(_sheet(found), f"statements-{name}")


def _one(number: int, members: Sequence[Finding]) -> None:
    one = members[0].statement
    unread = "" if one.verified else ", not read where it was printed"
    lines = [
        f"**{number}** {say.words(one.text)} ({say.words(f'{one.name}, {one.location}{unread}')})"
    ]
    lines += [f"- {_badge(made.status)} {say.words(_told(made))}" for made in members]
    st.markdown("\n".join([lines[0], "", *lines[1:]]))
    if one.objections:
        say.note(f"Held against it: {'; '.join(one.objections)}.")


def _badge(status: str) -> str:
    return f":{COLOURS.get(status, 'gray')}-badge[{status}]"


def _told(made: Finding) -> str:
    return f"{made.test.protocol}: {made.words}" if made.test else made.words


def _sheet(found: Sequence[Finding]) -> Sheet:
    columns = (
        Column("statement"),
        Column(
            "status",
            help="Held against the smallest effect that matters; see results/claims/README.md.",
        ),
        Column("what our runs say"),
        Column("test"),
        Column("protocol"),
        Column("ours", "number", "Difference, mean, standard deviation of arms, or rho."),
        Column("p", "number"),
        Column("n", "integer", "Seeds, arms or rows."),
        Column("power", "percent", "Of finding the smallest effect that matters."),
        Column("objections"),
        Column("source"),
        Column("location"),
    )
    rows = [
        (
            made.statement.text,
            made.status,
            made.words,
            spoken(made.test) if made.test else None,
            made.test.protocol if made.test else None,
            made.estimate,
            made.p,
            made.n,
            made.power,
            "; ".join(made.statement.objections) or None,
            made.statement.name,
            made.statement.location,
        )
        for made in found
    ]
    return Sheet("", columns, rows)
