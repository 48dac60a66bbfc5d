"""Which pages there are: our own, and those that tasks bring."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import streamlit as st

from dashboard import source
from dashboard.views import (
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
from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.task import Ability

VIEWS: dict[str, dict[str, Any]] = {
    "Boards": {
        "overview": overview,
        "leaderboard": leaderboard,
        "compare": compare,
        "trade-off": tradeoff,
        "classes": classes,
    },
    "Runs": {
        "jobs": jobs,
        "run": run,
    },
    "Literature": {
        "claims": claims,
    },
}
"""Section -> name in the URL -> page, a module with a TITLE, an ICON and a function `page`. The first is where an
address without a name leads."""
OF_TASKS = "Boards"
"""The section to whose end the tasks' pages go."""
PAGES = Ability[Mapping[str, str]]("pages")
"""Name in the URL -> name of a module that is such a page. It may import `dashboard`, and is imported when the
dashboard starts. A name that is taken already stays what it is."""


def views(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """`VIEWS` and the pages of the tasks."""
    found = {section: dict(pages) for section, pages in VIEWS.items()}
    taken = {name for pages in VIEWS.values() for name in pages}
    for task in catalog.tasks().values():
        for name, module in (PAGES.of(task) or {}).items():
            if name not in taken:
                taken.add(name)
                found[OF_TASKS][name] = _imported(name, module)
    return found


@cache
def _imported(name: str, module: str) -> Any:
    """The page; in the place of one that cannot be imported, a page that says so."""
    try:
        return import_module(module)
    except Exception as error:
        problem = f"page {name}: {module} cannot be imported: {type(error).__name__}: {error}"

    def page() -> None:
        raise UserError(problem)

    return SimpleNamespace(TITLE=name, ICON=":material/error:", page=page)


def navigation() -> Any:
    """The page that the address names, for Streamlit to run; links can be made from now on."""
    made = {
        section: {
            url: st.Page(
                view.page, title=view.TITLE, url_path=url, icon=view.ICON, default=view is overview
            )
            for url, view in pages.items()
        }
        for section, pages in views(source.catalog()).items()
    }
    for pages in made.values():
        common.PAGES.update(pages)
    return st.navigation({section: list(pages.values()) for section, pages in made.items()})
