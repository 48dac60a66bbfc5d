"""The harness of longtail-suite: specs, plans, runs, records, the store and the leaderboard.

It knows no task and no method by name: those live in `tasks/` and `baselines/` and are found through
entry points (`suite.define.catalog`). Importing any module of this package at top level imports neither
torch nor scipy; what needs them imports them inside the function.
"""

from suite.base.moved import serve as _serve_old_names

__version__ = "0.1.0"
_serve_old_names()
