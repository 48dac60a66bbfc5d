"""What several pages ask or say."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dashboard import controls, say, source
from suite.base.command import Command
from suite.base.errors import UserError
from suite.define.task import Task
from suite.dispatch.batch import jobs_folder
from suite.store.coverage import Coverage

PAGES: dict[str, Any] = {}
"""Name in the URL -> page, for links."""


def run(page: Callable[[], None]) -> None:
    """The page, or in one line what is in its way."""
    if source.stamp() is None and not jobs_folder(source.root()).is_dir():
        say.nothing(
            f"No results below {source.root()} yet. This trains every method of a task on data that the "
            "suite makes itself, in minutes:",
            Command("run", "--task", next(iter(source.catalog().tasks()))),
        )
        return
    try:
        page()
    except UserError as error:
        say.error(" ".join(str(error).split()))


def link(page: str, label: str, **parameters: str) -> None:
    """A link to another page, with what its URL is to ask for; `label` is no Markdown."""
    st.page_link(PAGES[page], label=say.words(label), query_params=parameters)


def no_runs(task: Task) -> None:
    """The empty state of a task."""
    say.nothing(
        f"{task.name} has no runs yet; this trains every method under {task.default_protocol}:",
        Command("run", "--task", task.name, "--seeds", "0-2"),
    )


def reference_first(names: Sequence[str], task: Task) -> list[str]:
    """What a page shows of rows `names`, the best first: the task's reference method and two others."""
    reference = [name for name in names if name == task.reference]
    return [*reference, *[name for name in names if name not in reference][:2]]


def pick_protocol(task: Task, lines: Sequence[Coverage]) -> str:
    """A protocol's name among those with runs; by default the task's, else the one with most rows."""
    names = list(dict.fromkeys(line.protocol for line in lines))
    fullest = max(lines, key=lambda line: (line.ranked, line.rows, line.runs)).protocol
    default = task.default_protocol if task.default_protocol in names else fullest
    return controls.pick("Protocol", names, "protocol", default=default)
