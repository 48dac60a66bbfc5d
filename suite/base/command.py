"""A command line of ours as data: what a message proposes to type, and a page offers to copy.

Whatever is proposed answers a call that somebody typed, and says again what that call said of where things are:
`--root`, `--data-root`, `--plugin`, for the verbs that take them.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath

Path = str | PathLike[str]

_NO_ROOT = frozenset({"attest", "baselines", "data", "sites"})
_DATA_ROOT = frozenset(
    {
        *(
            "attest",
            "compare",
            "config",
            "dashboard",
            "data",
            "doctor",
            "leaderboard",
            "plan",
            "power",
        ),
        *("predict", "retry", "review", "run", "status"),
    }
)
_NO_PLUGIN = frozenset({"attest", "data", "logs", "show", "sites", "tasks"})


def takes(verb: str, option: str) -> bool:
    """Whether a verb has `--root`, `--data-root` or `--plugin`."""
    if option == "--root":
        return verb not in _NO_ROOT
    if option == "--data-root":
        return verb in _DATA_ROOT
    return verb not in _NO_PLUGIN


@dataclass(frozen=True)
class Call:
    """What a call said of where things are, as it was typed: None and () where it said nothing."""

    root: Path | None = None
    data_root: Path | None = None
    plugins: Sequence[Path] = ()

    def options(self, verb: str) -> list[str]:
        """What a command of that verb repeats."""
        said = [("--root", self.root), ("--data-root", self.data_root)]
        said += [("--plugin", plugin) for plugin in self.plugins]
        return [
            word
            for option, value in said
            if value is not None and takes(verb, option)
            for word in (option, fspath(value))
        ]


_answered = Call()


def answer(call: Call) -> None:
    """From now on this process answers that call."""
    global _answered
    _answered = call


def answered() -> Call:
    """The call that this process answers."""
    return _answered


@dataclass(frozen=True)
class Command:
    """`Command("run", "--task", "x")`; as text it is quoted for a shell, with the options of the call that
    is answered. An option that is among the words is not repeated."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)

    def answering(self, call: Call) -> str:
        """As text, in answer to that call."""
        said = call.options(self.words[0])
        more = [
            word
            for option, value in zip(said[::2], said[1::2], strict=True)
            if option not in self.words
            for word in (option, value)
        ]
        return shlex.join(("python", "-m", "suite", *self.words, *more))

    def __str__(self) -> str:
        return self.answering(_answered)


@dataclass(frozen=True)
class Note:
    """A line for people, and the command that it ends with, if it proposes one."""

    text: str
    command: Command | None = None

    def __str__(self) -> str:
        return self.text if self.command is None else f"{self.text}: {self.command}"
