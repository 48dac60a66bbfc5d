"""The architecture, read from the imports: rooms downwards only, no circles, no task or method in `suite`.

All imports count, those inside functions and under TYPE_CHECKING too. `from package import name` counts as
an import of the module `package.name` where there is one, else of the package's own file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
PACKAGES = ("suite", "tasks", "baselines", "dashboard")
ROOMS = (
    "base",
    "define",
    "stats",
    "records",
    "store",
    "runs",
    "dispatch",
    "engine",
    "claims",
    "boards",
    "render",
    "exchange",
    "upkeep",
    "cli",
)
"""Rooms of `suite`, each of which imports from those before it alone."""
FORBIDDEN = {
    "suite": {"tasks", "baselines", "dashboard"},
    "tasks": {"baselines", "dashboard"},
    "baselines": {"dashboard"},
    "dashboard": {"tasks", "baselines"},
}
"""Package -> packages that it does not import."""
HEAVY = {"torch", "mmengine", "mmcv", "mmseg", "scipy"}
"""Imported at the top by `suite.engine` alone: the command line starts without them."""


@dataclass
class Source:
    """What is read of a module. `imports`: (line, name as it is written, imported names of a `from`);
    `top`: top-level packages that are imported when the module is; `strings`: (line, constant), without
    docstrings; `words`: (line, identifier)."""

    name: str
    imports: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)
    top: set[str] = field(default_factory=set)
    strings: list[tuple[int, str]] = field(default_factory=list)
    words: list[tuple[int, str]] = field(default_factory=list)

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str:
        """The folder of `suite` that it lies in, `cli` for the module that `python -m suite` runs."""
        second = self.name.split(".")[1:2]
        return "cli" if second == ["__main__"] else "".join(second)


@cache
def sources(folder: Path = HERE, packages: tuple[str, ...] = PACKAGES) -> dict[str, Source]:
    """Module name -> what is read of it."""
    found = {}
    for package in packages:
        for path in sorted((folder / package).rglob("*.py")):
            places = path.relative_to(folder).with_suffix("").parts
            name = ".".join(places[:-1] if places[-1] == "__init__" else places)
            found[name] = read(name, path, places[-1] == "__init__")
    return found


def read(name: str, path: Path, is_package: bool) -> Source:
    source = Source(name)
    parents = name.split(".") if is_package else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # nodes with whether they run when the module is imported
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, runs = waiting.pop()
        if isinstance(node, ast.Import):
            entries = [(node.lineno, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            entries = [(node.lineno, module, tuple(alias.name for alias in node.names))]
        else:
            entries = []
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring, of a constant perhaps
            if isinstance(node, ast.Call) and last_name(node.func) in ("open", "fdopen"):
                continue  # "wb" is a mode there
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                source.strings.append((node.lineno, node.value))
            elif isinstance(node, ast.Name):
                source.words.append((node.lineno, node.id))
            elif isinstance(node, ast.Attribute):
                source.words.append((node.lineno, node.attr))
            elif isinstance(node, ast.arg | ast.keyword):
                source.words.append((node.lineno, node.arg or ""))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                source.words.append((node.lineno, node.name))
        source.imports += entries
        source.top |= {module.partition(".")[0] for _, module, _ in entries if runs}
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING"
        for child in ast.iter_child_nodes(node):
            waiting.append((child, runs and not deferred and not typing))
    return source


def last_name(node: ast.AST) -> str:
    """`name` of `name` and of `module.name`, else ""."""
    return getattr(node, "id", "") or getattr(node, "attr", "")


def edges(modules: dict[str, Source]) -> Iterator[tuple[Source, int, str]]:
    """(module, line, module that it imports), of modules of these packages."""
    packages = {source.package for source in modules.values()}
    for source in modules.values():
        for line, module, names in source.imports:
            if module.partition(".")[0] not in packages:
                continue
            inner = [f"{module}.{name}" for name in names if f"{module}.{name}" in modules]
            outer = len(inner) < len(names) or not names
            for target in [*inner, *([module] if outer else [])]:
                yield source, line, target


def upward(modules: dict[str, Source], rooms: tuple[str, ...] = ROOMS) -> list[str]:
    """Imports of a room of `suite` by a room that lies below it."""
    found = []
    for source, line, target in edges(modules):
        if source.package != "suite" or not source.room or not target.startswith("suite."):
            continue
        if rooms.index(target.split(".")[1]) > rooms.index(source.room):
            found.append(f"{source.name}:{line} imports {target}")
    return sorted(found)


def against_the_order(modules: dict[str, Source]) -> list[str]:
    """Imports of a package by one that must do without it. A task's own page may draw with `dashboard`."""
    found = []
    for source, line, target in edges(modules):
        other = target.partition(".")[0]
        page = source.package == "tasks" and source.name.endswith(".page") and other == "dashboard"
        if other in FORBIDDEN[source.package] and not page:
            found.append(f"{source.name}:{line} imports {target}")
    return sorted(found)


def circles(modules: dict[str, Source], package: str) -> list[list[str]]:
    """Groups of a package's modules of which each imports every other, directly or not (Tarjan 1972)."""
    graph: dict[str, set[str]] = {n: set() for n, s in modules.items() if s.package == package}
    for source, _, target in edges(modules):
        if source.package == package and target in graph and target != source.name:
            graph[source.name].add(target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return sorted(found)


def registered() -> set[str]:
    """Names of the tasks and methods that come with the suite, from their sources."""
    import tasks

    names = set(tasks.TASKS)
    for path in (HERE / "baselines").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CARD":
                card = {
                    key.value: entry
                    for key, entry in zip(node.value.keys, node.value.values, strict=True)
                }
                names |= {key.value for key in card["names"].keys}
    return names


OWN_WORDS = {"role"}
"""Names of methods that as an identifier mean something else in `suite`: what an input run is to the run that takes it."""


def named(modules: dict[str, Source], names: set[str]) -> list[str]:
    """Places of `suite` that name one of `names`: as a whole string; an identifier only where the name is long
    enough not to be anything else; one with a hyphen anywhere in a string that is neither a docstring nor shows
    a command."""
    # three letters mean many things
    words = {name.replace("-", "_"): name for name in names - OWN_WORDS if len(name) > 3}
    hyphened = [re.escape(name) for name in names if "-" in name and len(name) > 6]
    inside = re.compile(rf"(?<![\w-])(?:{'|'.join(hyphened)})(?![\w-])" if hyphened else "(?!)")
    found = []
    for source in modules.values():
        if source.package != "suite":
            continue
        for line, text in source.strings:
            if text in names or (inside.search(text) and "python -m suite" not in text):
                found.append(f"{source.name}:{line} names {text[:60]!r}")
        for line, word in source.words:
            if word in words:
                found.append(f"{source.name}:{line} has the identifier {word}")
    return sorted(found)


def test_every_room_has_its_place_in_the_order():
    rooms = {source.room for source in sources().values() if source.package == "suite"} - {""}
    assert rooms == set(ROOMS)


def test_rooms_import_downwards_only():
    assert upward(sources()) == []


def test_packages_depend_one_way():
    assert against_the_order(sources()) == []


def test_suite_starts_the_dashboard_alone_by_its_name():
    by_name = re.compile(r"(tasks|baselines|dashboard)(\.\w+)+")
    for source in sources().values():
        if source.package == "suite" and source.name != "suite.cli.dashboard":
            assert [s for s in source.strings if by_name.fullmatch(s[1])] == [], source.name


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circles(package):
    assert circles(sources(), package) == []


def test_suite_names_no_task_and_no_method():
    names = registered()
    assert {"longtail-seg", "ce", "aucseg"} <= names
    assert named(sources(), names) == []


def test_what_is_heavy_is_imported_by_the_engine_alone():
    heavy = {
        source.name: source.top & HEAVY
        for source in sources().values()
        if source.package == "suite" and source.room != "engine" and source.top & HEAVY
    }
    assert heavy == {}


def test_what_breaks_the_rules_is_found(tmp_path):
    files = {
        "suite/__init__.py": "",
        "suite/base/__init__.py": "",
        "suite/base/low.py": "def f():\n    from suite.cli import high\n",
        "suite/base/heavy.py": "try:\n    import scipy.stats\nexcept ImportError:\n    pass\n",
        "suite/base/light.py": "def f():\n    import torch\n",
        "suite/cli/__init__.py": "",
        "suite/cli/high.py": "from suite.cli.other import g\nA = 'toy-task'\n",
        "suite/cli/other.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "    from suite.cli import high\nTEXT = 'see toy-task'\n'''toy-task'''\nlarge_margin = 'mean'\n",
        "tasks/__init__.py": "",
        "tasks/toy/page.py": "import dashboard.tables\n",
        "tasks/toy/task.py": "import dashboard.tables\nimport suite.base\n",
        "dashboard/__init__.py": "",
        "dashboard/tables.py": "from . import other\n",
        "dashboard/other.py": "from .tables import x\nimport suite\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    modules = sources(tmp_path)
    assert upward(modules, ("base", "cli")) == ["suite.base.low:2 imports suite.cli.high"]
    assert against_the_order(modules) == ["tasks.toy.task:1 imports dashboard.tables"]
    assert circles(modules, "suite") == [["suite.cli.high", "suite.cli.other"]]
    assert circles(modules, "dashboard") == [["dashboard.other", "dashboard.tables"]]
    assert modules["suite.base.heavy"].top == {"scipy"}
    assert not (modules["suite.base.light"].top | modules["suite.cli.other"].top) & HEAVY
    assert named(modules, {"toy-task", "large-margin", "sam"}) == [
        "suite.cli.high:2 names 'toy-task'",
        "suite.cli.other:5 names 'see toy-task'",
        "suite.cli.other:7 has the identifier large_margin",
    ]
