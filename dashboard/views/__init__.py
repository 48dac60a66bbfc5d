"""The pages: a file each with a TITLE, an ICON and a function `page`."""

from types import ModuleType
from typing import Any

import streamlit as st

from dashboard.views import (
    agnostic,
    claims,
    classes,
    common,
    compare,
    jobs,
    leaderboard,
    overview,
    run,
    tradeoff,
)

VIEWS: dict[str, dict[str, ModuleType]] = {
    "Boards": {
        "overview": overview,
        "leaderboard": leaderboard,
        "compare": compare,
        "trade-off": tradeoff,
        "classes": classes,
        "test-agnostic": agnostic,
    },
    "Runs": {
        "jobs": jobs,
        "run": run,
    },
    "Literature": {
        "claims": claims,
    },
}
"""Section -> name in the URL -> page. The first is where an address without a name leads."""


def navigation() -> Any:
    """The page that the address names, for Streamlit to run; links can be made from now on."""
    made = {
        section: {
            url: st.Page(
                view.page, title=view.TITLE, url_path=url, icon=view.ICON, default=view is overview
            )
            for url, view in views.items()
        }
        for section, views in VIEWS.items()
    }
    for pages in made.values():
        common.PAGES.update(pages)
    return st.navigation({section: list(pages.values()) for section, pages in made.items()})
