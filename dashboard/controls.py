"""Widgets whose values are in the URL, so that a link opens the same view.

A widget's key is the name of its parameter; pages that ask the same use the same key, so that a choice stays
when the page changes. What a URL asks for and is not there is named in one line, and left out.
"""

from collections.abc import Callable, Collection, Sequence

import streamlit as st

from dashboard import say, source
from suite.errors import did_you_mean
from suite.escape import clipped, plain
from suite.task import Task

ALL = "all"


def pick(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    default: str | None = None,
    format: Callable[[str], str] = plain,
    help: str | None = None,
) -> str:
    """One of the options, which are not empty."""
    _check(label, key, options)
    index = options.index(default) if default in options else 0
    chosen = st.selectbox(
        label,
        options,
        index=index,
        key=key,
        format_func=_short(format),
        help=help,
        bind="query-params",
    )
    return options[index] if chosen is None else chosen


def pick_many(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    default: Sequence[str] = (),
    most: int | None = None,
    format: Callable[[str], str] = plain,
    help: str | None = None,
) -> list[str]:
    """Some of the options, at most `most`."""
    _check(label, key, options)
    return st.multiselect(
        label,
        options,
        default=[one for one in default if one in options],
        key=key,
        max_selections=most,
        format_func=_short(format),
        help=help,
        bind="query-params",
    )


def slide(
    label: str,
    low: float,
    high: float,
    key: str,
    *,
    default: float,
    step: float,
    format: str | None = None,
    help: str | None = None,
) -> float:
    """A number between `low` and `high`."""
    _check_number(label, key, low, high)
    return st.slider(
        label, low, high, default, step, format, key=key, help=help, bind="query-params"
    )


def switch(label: str, key: str, *, default: bool = False, help: str | None = None) -> bool:
    """On or off."""
    _check(label, key, ("true", "false"))
    return st.toggle(label, default, key=key, help=help, bind="query-params")


def text(label: str, key: str, *, placeholder: str = "", help: str | None = None) -> str:
    """A text, "" for none."""
    return st.text_input(
        label, key=key, placeholder=placeholder, help=help, bind="query-params"
    ).strip()


def pick_task(names: Collection[str] | None = None) -> Task:
    """The task that all pages share; `names`: only those."""
    known = [name for name in source.catalog().tasks() if names is None or name in names]
    name = pick("Task", known, "task", default=_with_runs(known))
    return source.task(name)


def pick_protocol(names: Sequence[str], default: str | None = None) -> str:
    """The protocol that all pages share."""
    return pick("Protocol", names, "protocol", default=default)


def _with_runs(names: Sequence[str]) -> str | None:
    """The first task with runs."""
    return next((name for name in names if source.coverage(name)), None)


def _short(format: Callable[[str], str]) -> Callable[[str], str]:
    return lambda option: clipped(format(option))


def _check(label: str, key: str, options: Sequence[str]) -> None:
    """Say which of the URL's values for `key` are no option; the widget ignores them."""
    # `st.query_params` has them until the widget has looked
    for asked in st.query_params.get_all(key):
        if asked and asked not in options:
            say.warning(_line(f"{key}={asked} in the URL: no such {label.lower()}", asked, options))


def _check_number(label: str, key: str, low: float, high: float) -> None:
    for asked in st.query_params.get_all(key):
        try:
            fits = low <= float(asked) <= high
        except ValueError:
            fits = False
        if not fits:
            words = f"{label.lower()} is a number between {low:g} and {high:g}"
            say.warning(_line(f"{key}={asked} in the URL: {words}", "", ()))


def _line(problem: str, asked: str, options: Sequence[str]) -> str:
    near = did_you_mean(asked, options) if asked and len(asked) < 200 else ""
    return clipped(plain(problem), 160) + near
