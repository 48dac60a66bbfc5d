"""Where Python looks for modules, in this process and in those of ours that it starts.

`python -m`, or an empty part of $PYTHONPATH (`:/my/code`), puts the working folder before everything else: a user's
`tasks/` there would stand in for ours. So it comes last, where what lies beside a plug-in is still found.
"""

import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder that `suite` lies in: a checkout, a copy of the code, or where packages are installed."""
LAST = "LONGTAIL_LAST"
"""Environment variable: what a process of ours is told to look through last."""

_last = ""


def settle() -> None:
    """Put the working folder to the end of `sys.path`, unless `suite` itself was found there.

    For the top of a program, before anything is imported that a file of that folder could stand in for.
    """
    global _last
    folder = os.environ.pop(LAST, "")
    here = os.getcwd()
    if here != HOME and here in sys.path:
        folder = here
        sys.path[:] = [place for place in sys.path if place != here]
    if folder and folder not in sys.path:
        # an installation that is found otherwise than by folders would be asked after it
        sys.path += [HOME] * (HOME not in sys.path) + [folder]
        _last = folder


def python(*words: str) -> list[str]:
    """The command of a Python of ours, such as `python("-m", "suite.dispatch.worker_process")`; its
    environment is `environment()`."""
    return [sys.executable, "-P", *words]


def environment() -> dict[str, str]:
    """This process's, for a Python that finds the modules that this one finds."""
    found = dict(os.environ)
    # an empty part is the working folder
    before = os.pathsep.join(filter(None, found.get("PYTHONPATH", "").split(os.pathsep)))
    # a folder where packages are installed is found by itself, and would come before Python's own modules
    installed = os.path.basename(HOME) in ("site-packages", "dist-packages")
    if not installed and HOME not in before.split(os.pathsep) and os.pathsep not in HOME:
        found["PYTHONPATH"] = HOME + (os.pathsep + before if before else "")
    if _last:
        found[LAST] = _last
    return found


def log_in_utf8() -> None:
    """What this process prints goes to a log, which is UTF-8 whatever the locale: a letter must not end
    a training."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
