"""Where runs stand now: one survey at a time, in a thread of its own, shared by all sessions.

A survey reads the files of every run that is under way, and asks the cluster. Pages take the newest one that
there is: neither many sessions nor a cluster that does not answer hold them up.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from dashboard import source
from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.dispatch.batch import batches, jobs_folder
from suite.dispatch.progress import Submission, submission
from suite.dispatch.reconcile import ClusterState, reconcile
from suite.dispatch.states import Settled, TrackedRun, read_settled, survey
from suite.store.connection import connect

SECONDS = 4.0
"""Between two surveys at the least; longer where one takes long."""
SHARE = 5
"""A survey that took a second is not repeated for so many seconds."""
CLUSTER_SECONDS = 10.0
"""Between two questions to the cluster."""
PATIENCE_SECONDS = 2.0
"""How long a survey waits for the cluster's answer, and a page for its first survey."""
OLD_SECONDS = 20.0
"""A survey of before is not shown without a look for a newer one."""


@dataclass(frozen=True)
class View:
    """What a survey found.

    Attributes:
        at: when it ended, in Unix seconds; `seconds`: how long it took.
        runs: all but those of `settled`, which the store knows to need no look.
        problem: what is wrong with the cluster, in one line, or "".
        store_problem: what is wrong with the store: then every run's files were read.
        submissions: batches of cluster jobs, the newest first.
    """

    at: float
    seconds: float
    runs: Sequence[TrackedRun]
    settled: Settled
    problem: str
    store_problem: str
    submissions: Sequence[Submission]


class Watch:
    """Surveys a results folder for as long as somebody looks. For all sessions of a server.

    Attributes:
        problem: why the last survey found nothing; empty if it went well.
    """

    def __init__(self, root: Path, catalog: Catalog) -> None:
        self._root, self._catalog = root, catalog
        self._changed = threading.Condition()
        self._view: View | None = None
        self._working = False
        self._next = 0.0
        self._settled: tuple[source.Stamp | None, Settled] = (None, Settled())
        self._cluster = Cluster(root)
        self.problem = ""

    def look(self) -> View | None:
        """The newest survey; begins another if it is time for one. Waits a moment where there is none, or
        only an old one; None if there is none even then."""
        with self._changed:
            if not self._working and time.monotonic() >= self._next:
                self._working = True
                threading.Thread(target=self._work, name="survey", daemon=True).start()
            if self._view is None or time.time() - self._view.at > OLD_SECONDS:
                self._changed.wait_for(lambda: not self._working, PATIENCE_SECONDS * 1.5)
            return self._view

    def _work(self) -> None:
        begun = time.monotonic()
        view, problem = None, ""
        try:
            view = self._survey()
        except Exception as error:
            # a thread's error would be shown to nobody
            text = " ".join(str(error).split())
            problem = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        with self._changed:
            self._view, self.problem = view or self._view, problem
            self._working = False
            took = time.monotonic() - begun
            self._next = time.monotonic() + max(SECONDS, SHARE * took)
            self._changed.notify_all()

    def _survey(self) -> View:
        begun = time.monotonic()
        known, store_problem = self._known()
        runs, now = survey(
            self._root,
            # protocols may have been brought since
            self._catalog.at(self._root),
            settle=False,
            leave_out=known.state.keys(),
            now=self._cluster.state(),
        )
        state_of = {**known.state, **{run.spec.run_id: run.state for run in runs}}
        return View(
            at=time.time(),
            seconds=time.monotonic() - begun,
            runs=runs,
            settled=known,
            problem=now.problem or "",
            store_problem=store_problem,
            submissions=[submission(batch, state_of) for batch in reversed(batches(self._root))],
        )

    def _known(self) -> tuple[Settled, str]:
        """What the store knows, read once a snapshot, and what is wrong with it."""
        stamp = source.stamp_of(self._root)
        if stamp != self._settled[0]:
            self._settled = (None, Settled())
            if stamp is not None:
                try:
                    store = connect(self._root)
                except UserError as error:
                    return Settled(), str(error)
                try:
                    self._settled = stamp, read_settled(store, self._catalog.methods())
                finally:
                    store.close()
        return self._settled[1], ""


class Cluster:
    """Asks the cluster where the jobs stand: a question at a time, whose answer may take long."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._answered = threading.Event()
        self._answered.set()
        self._asked = 0.0
        self._next = 0.0
        self._newest: ClusterState | None = None
        self._heard: tuple[ClusterState, float] | None = None

    def state(self) -> ClusterState:
        """Where the jobs stand by the newest answer. Of a cluster that is silent, the last word holds."""
        if not jobs_folder(self._root).exists():
            return ClusterState()
        now = time.monotonic()
        if self._answered.is_set() and now >= self._next:
            self._answered.clear()
            self._asked = now
            threading.Thread(target=self._ask, name="cluster", daemon=True).start()
        if self._answered.wait(PATIENCE_SECONDS):
            silent = self._newest.silent if self._newest is not None else None
        else:
            silent = f"the cluster has not answered for {time.monotonic() - self._asked:.0f} s"
        if silent is None:
            return self._newest or ClusterState()
        if self._heard is None:
            return replace(self._newest or ClusterState(), silent=silent)
        last, at = self._heard
        said = time.strftime("%H:%M:%S", time.localtime(at))
        return replace(last, silent=f"{silent}; jobs as of {said}")

    def _ask(self) -> None:
        try:
            # a page never writes: what ended jobs have left, `status` settles
            found = reconcile(self._root, settle=False)
        except Exception as error:
            found = ClusterState(silent=f"{type(error).__name__}: {' '.join(str(error).split())}")
        self._newest = found
        if found.silent is None:
            self._heard = found, time.time()
        self._next = time.monotonic() + CLUSTER_SECONDS
        self._answered.set()


@st.cache_resource(show_spinner=False)
def watch() -> Watch:
    """The server's only one."""
    return Watch(source.root(), source.catalog())
