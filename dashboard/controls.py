"""Widgets whose values are in the URL, so that a link opens the same view.

A widget's key is the name of its parameter, and its options stand in the URL as they are; pages that ask the same use the same key, so that a choice stays
when the page changes. What a URL asks for and is not there is named in one line, and left out.
"""

from collections.abc import Collection, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import streamlit as st

from dashboard import say, source
from suite.base.errors import did_you_mean
from suite.base.text import clipped, plain
from suite.define.task import Task

ALL = "all"
ASKED, OWN = "asked", "own"


def pick(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    default: str | None = None,
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
        help=help,
        bind="query-params",
    )
    return _noted(key, options[index] if chosen is None else chosen)


def pick_many(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    default: Sequence[str] = (),
    most: int | None = None,
    help: str | None = None,
) -> list[str]:
    """Some of the options, at most `most`."""
    _check(label, key, options)
    chosen = st.multiselect(
        label,
        options,
        default=[one for one in default if one in options],
        key=key,
        max_selections=most,
        help=help,
        bind="query-params",
    )
    return _noted(key, chosen)


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
    chosen = st.slider(
        label, low, high, default, step, format, key=key, help=help, bind="query-params"
    )
    return _noted(key, chosen)


def number(
    label: str, low: int, high: int, key: str, *, default: int, help: str | None = None
) -> int:
    """A whole number between `low` and `high`, to type or to step through."""
    _check_number(label, key, low, high)
    held = st.session_state.get(key)
    if isinstance(held, int) and not low <= held <= high:
        # chosen where there was more to choose from
        del st.session_state[key]
    chosen = st.number_input(
        label, low, high, default, step=1, key=key, help=help, bind="query-params"
    )
    return int(_noted(key, default if chosen is None else chosen))


def slide_among(
    label: str, options: Sequence[str], key: str, *, default: str, help: str | None = None
) -> str:
    """One of the options, which have an order."""
    _check(label, key, options)
    chosen = st.select_slider(
        label, options, value=default, key=key, help=help, bind="query-params"
    )
    return _noted(key, chosen)


def switch(label: str, key: str, *, default: bool = False, help: str | None = None) -> bool:
    """On or off."""
    _check(label, key, ("true", "false"))
    chosen = st.toggle(label, default, key=key, help=help, bind="query-params")
    return _noted(key, chosen)


def text(label: str, key: str, *, placeholder: str = "", help: str | None = None) -> str:
    """A text, "" for none."""
    chosen = st.text_input(label, key=key, placeholder=placeholder, help=help, bind="query-params")
    return _noted(key, chosen.strip())


T = TypeVar("T", str, bool, float, list[str])


def _noted(key: str, value: T) -> T:
    st.session_state.setdefault(ASKED, {})[key] = value
    own = st.session_state.setdefault(OWN, {}).setdefault(key, set())
    own.update(map(str, value) if isinstance(value, list) else [str(value)])
    return value


def forget() -> None:
    """Begin a page: what was chosen on another one is no part of its link."""
    st.session_state[ASKED] = {}


def link() -> str:
    """The address of the view that is shown, with everything that was chosen or taken by default.

    Streamlit's own address leaves out what is the default, and which protocol is may change with new runs.
    """
    chosen: dict[str, Any] = st.session_state.get(ASKED, {})
    values = {key: value for key, value in chosen.items() if value not in ("", [])}
    spelled = {k: str(v).lower() if isinstance(v, bool) else v for k, v in values.items()}
    address = (st.context.url or "").partition("?")[0]
    return f"{address}?{urlencode(spelled, doseq=True)}" if spelled else address


def tabs(labels: Sequence[str], key: str) -> str:
    """A row of tabs, the first open at first; the label of the open one, whose content is to follow."""
    _check("Tab", key, labels)
    made = st.tabs(labels, key=key, on_change="rerun", bind="query-params")
    chosen = next((label for label, tab in zip(labels, made, strict=True) if tab.open), labels[0])
    return _noted(key, chosen)


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


def _check(label: str, key: str, options: Sequence[str]) -> None:
    """Say which of the URL's values for `key` are no option; the widget ignores them."""
    # `st.query_params` has them until the widget has looked
    for asked in _from_outside(key):
        if asked and asked not in options:
            short = len(asked) < 200
            near = did_you_mean(asked, options) if short else ""
            say.warning(f"{_asked(key, asked)}: no such {label.lower()}{near}")


def _check_number(label: str, key: str, low: float, high: float) -> None:
    for asked in _from_outside(key):
        try:
            fits = low <= float(asked) <= high
        except ValueError:
            fits = False
        if not fits:
            words = f"{label.lower()} is a number between {low:g} and {high:g}"
            say.warning(f"{_asked(key, asked)}: {words}")


def _from_outside(key: str) -> list[str]:
    """What the URL asks for, but for what was chosen in this session: that of another page or task."""
    own = st.session_state.get(OWN, {}).get(key, ())
    return [asked for asked in st.query_params.get_all(key) if asked not in own]


def _asked(key: str, value: str) -> str:
    return f"{key}={clipped(plain(value), 60)} in the URL"
