"""The git checkout that this code lies in: its commits, and the code that they hold."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from suite.base.errors import UserError
from suite.base.shipped import HERE
from suite.define.syntax import PROJECT


@dataclass(frozen=True)
class Checkout:
    """A checkout of this project; `top` holds its packages."""

    top: Path

    @classmethod
    def of_this_code(cls) -> Checkout:
        """Raises UserError where this code is no checkout (an installed package), or git is missing."""
        top = HERE.parent
        found = _git(top, "rev-parse", "--show-toplevel")
        if found.returncode or Path(found.stdout.decode().strip()).resolve() != top.resolve():
            raise UserError(
                f"{top}: not a git checkout of the project, so there is no earlier code to be held against; "
                "clone it and run the clone's `python -m suite`"
            )
        return cls(top)

    def git(self, *arguments: str, given: str = "") -> bytes:
        """What git prints. Raises UserError with its message."""
        done = _git(self.top, *arguments, given=given)
        if done.returncode:
            said = " ".join(done.stderr.decode("utf-8", "replace").split())
            raise UserError(f"{self.top}: git {arguments[0]}: {said[:300]}")
        return done.stdout

    @cached_property
    def head(self) -> str:
        """The 40 hex digits of the commit that is checked out."""
        return self.git("rev-parse", "HEAD").decode().strip()

    def uncommitted(self) -> str | None:
        """The first Python file of the packages that is not as it was committed."""
        places = [f":(glob){name}/**/*.py" for name in sorted(PROJECT)]
        listed = self.git(
            "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", *places
        )
        names = sorted(
            entry[3:] for entry in listed.decode("utf-8", "replace").split("\0") if entry
        )
        return names[0] if names else None

    def commit(self, name: str) -> str:
        """The 40 hex digits of the commit that `name` stands for. Raises UserError."""
        # (what begins with a dash would be an option)
        done = _git(self.top, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if name.startswith("-") or done.returncode:
            raise UserError(
                f"--since {name}: no such commit in {self.top}; see `git log --oneline`"
            )
        return done.stdout.decode().strip()

    def commits(self) -> list[str]:
        """All commits that led to the one that is checked out, newest first."""
        return self.git("rev-list", "--topo-order", "HEAD").decode().split()

    def trees(self, commits: list[str], package: str) -> Iterator[tuple[str, str]]:
        """(commit, id of the tree that the folder `package` has there), of those that have one."""
        asked = "".join(f"{commit}:{package}\n" for commit in commits)
        answers = self.git("cat-file", "--batch-check", given=asked).decode().splitlines()
        for commit, answer in zip(commits, answers, strict=True):
            found, _, kind = answer.rpartition(" ")[0].rpartition(" ")
            if kind == "tree":
                yield commit, found

    def contents(self, tree: str) -> Mapping[str, str]:
        """Path below a tree -> id of the file's content."""
        listed = self.git("ls-tree", "-r", "-z", tree).decode("utf-8", "replace").split("\0")
        pairs = (entry.partition("\t") for entry in listed if entry)
        return {path: head.split()[2] for head, _, path in pairs}

    def export(self, tree: str, folder: Path) -> Path:
        """Write the files of a commit or tree, and nothing else, into `folder`; returns it."""
        with tarfile.open(fileobj=io.BytesIO(self.git("archive", "--format=tar", tree))) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    path = folder / member.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content.read())
        return folder


def _git(top: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(top), *arguments], input=given.encode(), capture_output=True
        )
    except OSError as error:
        raise UserError(f"git cannot be run ({error.strerror})") from None
