"""A command line of ours as data: what a message proposes to type, and a page offers to copy."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`Command("run", "--task", "x")`; as text it is quoted for a shell."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)

    def __str__(self) -> str:
        return shlex.join(("python", "-m", "suite", *self.words))


@dataclass(frozen=True)
class Note:
    """A line for people, and the command that it ends with, if it proposes one."""

    text: str
    command: Command | None = None

    def __str__(self) -> str:
        return self.text if self.command is None else f"{self.text}: {self.command}"
