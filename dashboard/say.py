"""Lines of text on a page. Names in them come from records, and are never Markdown."""

import streamlit as st

from suite.base.command import Command
from suite.base.text import markdown, plain


def words(text: object) -> str:
    """A text that Streamlit shows as it is: neither Markdown nor its `:icons:` and `:red[colours]`."""
    return markdown(plain(text)).replace(":", "\\:")


def warning(line: str) -> None:
    st.warning(words(line))


def error(line: str) -> None:
    st.error(words(line))


def note(line: str) -> None:
    st.caption(words(line))


def nothing(line: str, command: Command | str = "") -> None:
    """An empty state: what is not there, and the command that makes it."""
    st.info(words(line))
    if command:
        st.code(str(command), language=None)
