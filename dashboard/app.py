"""Streamlit's entry, run at every interaction: navigation, freshness, errors."""

import time
from pathlib import Path

import streamlit as st

from dashboard import controls, say, source
from dashboard.keeper import keeper
from dashboard.pages import navigation
from dashboard.views import common
from suite import __version__
from suite.base.text import plain

# a file of ours: Streamlit would fetch an icon by name from a font server
ICON = (Path(__file__).with_name("icon.svg")).read_text(encoding="utf-8")

LOOK_SECONDS = 5
"""How often a session looks whether there is a newer snapshot."""


@st.fragment(run_every=LOOK_SECONDS)
def freshness() -> None:
    """Since when the snapshot is there; the page is shown anew when another one is."""
    keeper().look()
    stamp = source.stamp()
    shown = st.session_state.setdefault("shown", stamp)
    if stamp != shown:
        st.session_state["shown"] = stamp
        st.rerun()
    say.note(
        f"results as of {_moment(stamp[1] / 1e9)}, followed live" if stamp else "no results yet"
    )
    if keeper().problem:
        say.warning(f"not brought up to date: {keeper().problem}")


def _moment(seconds: float) -> str:
    """The time of day; the date too, if it is another day's."""
    then = time.localtime(seconds)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def main() -> None:
    source.answer_the_call()
    st.set_page_config(page_title="longtail-suite", page_icon=ICON, layout="wide")
    st.html(Path(__file__).with_name("style.css"))
    page = navigation()
    with st.sidebar:
        st.caption(f"longtail-suite {__version__}", help=plain(source.root()))
        freshness()
    st.title(page.title)
    controls.forget()
    common.run(page.run)
    with st.sidebar:
        st.markdown(f"[Link to this view]({controls.link()})")


main()
