"""What a Python file says, as a digest that prose and moves leave as it is.

The digest covers the syntax tree without docstrings and comments, without the file's CARD, and without
the paths of imports from this project: so a reworded comment, another layout of the lines, or a module
that moves to another folder changes no digest. The form is the same on every supported Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

PROJECT = frozenset({"suite", "tasks", "baselines", "dashboard"})
"""Top-level packages whose modules may move without changing what is imported from them."""
FORM = 1
"""Raised with every change of the form that is digested: all digests change with it."""
EMPTY = ""
"""Digest of a file that says nothing (a docstring, imports of nothing)."""


class Module(NamedTuple):
    """A file's digest (64 hex digits, or `EMPTY`) and the modules that it may import: dotted names, and as
    `.LEVEL.name` those of relative imports."""

    digest: str
    imports: list[str]


def parsed(source: bytes, own: Collection[str] = ()) -> Module:
    """Digest and imports of a source text. `own`: further top-level packages whose paths do not count.

    Text that is no Python is covered byte by byte: it will not run anyway.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Module(hashlib.sha256(source).hexdigest(), [])
    form: list[str] = []
    _statements(tree.body, form.append, PROJECT | frozenset(own), top=True)
    text = "".join(form)
    digest = hashlib.sha256(f"{FORM}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()
    return Module(digest if text else EMPTY, sorted(set(_imports(tree.body))))


def _statements(body: list[ast.stmt], write: Any, own: frozenset[str], top: bool = False) -> None:
    """The form of a block: what it imports, sorted (sorters of imports go by paths), then the rest."""
    imported: list[str] = []
    rest: list[ast.stmt] = []
    card = next(filter(_is_card, body), None) if top else None
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imported += _imported(statement, own)
        elif not _silent(statement) and statement is not card:
            rest.append(statement)
    for line in sorted(set(imported)):
        write(f"{line};")
    for statement in rest:
        _node(statement, write, own)


def _imported(statement: ast.Import | ast.ImportFrom, own: frozenset[str]) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            path = "." if alias.name.partition(".")[0] in own else alias.name
            yield f"import {path} as {alias.asname}"
        return
    home = statement.module or ""
    path = "." if statement.level or home.partition(".")[0] in own else home
    for alias in statement.names:
        yield f"from {path} import {alias.name} as {alias.asname}"


def _silent(statement: ast.stmt) -> bool:
    """A docstring, any other text that stands alone, or `pass`."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return isinstance(statement.value.value, str)
    return isinstance(statement, ast.Pass)


def _is_card(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        target = statement.targets[0] if len(statement.targets) == 1 else None
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return False
    return isinstance(target, ast.Name) and target.id == "CARD"


_UNSAID = {"ctx", "kind", "type_comment", "type_ignores"}
_BLOCKS = {"body", "orelse", "finalbody"}


def _node(node: ast.AST, write: Any, own: frozenset[str]) -> None:
    """A node as `Name(field=...)`. Empty fields are left out: later Pythons have more of them."""
    write(type(node).__name__)
    write("(")
    for name in node._fields:
        if name in _UNSAID:
            continue
        value = getattr(node, name, None)
        if value is None or value == []:
            # None as a constant is a value
            if name == "value" and isinstance(node, ast.Constant):
                write("value=None,")
            continue
        write(name)
        write("=")
        if isinstance(value, ast.AST):
            _node(value, write, own)
        elif isinstance(value, list):
            write("[")
            # (the body of a lambda is no block)
            if name in _BLOCKS:
                _statements(value, write, own)
            else:
                for item in value:
                    if isinstance(item, ast.AST):
                        _node(item, write, own)
                    else:
                        write(repr(item))
                    write(",")
            write("]")
        else:
            write(repr(value))
        write(",")
    write(")")


def _imports(body: list[Any]) -> Iterator[str]:
    """Modules that the statements import, whether a name is a module or something in one."""
    waiting = [*body]
    while waiting:
        node = waiting.pop()
        # statements alone, without the expressions in them
        for inner in ("body", "orelse", "finalbody", "handlers", "cases"):
            found = getattr(node, inner, ())
            waiting += found if isinstance(found, list) else ()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = f".{node.level}.{node.module or ''}" if node.level else node.module or ""
            yield home
            joint = "" if home.endswith(".") else "."
            yield from (f"{home}{joint}{alias.name}" for alias in node.names)
