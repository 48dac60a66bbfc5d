"""What a package of somebody else's adds: tasks, protocols, methods; and what is left out of a broken one."""

import itertools
import re
import shutil
import sys

import pytest
from conftest import ROOT

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.runs.plan import make_plan

NUMBERS = itertools.count()
HEAD = """
from dataclasses import replace
from tasks.longtail_cls.protocols import PROTOCOLS as CLS
from tasks.test_agnostic import TASK as OTHER
from suite.define.protocols import Declared

THIN = replace(CLS["quick"], name="thin", recipe="another")
"""
TASK = 'TASK = replace(OTHER, name="theirs", protocols=(THIN,), default_protocol="thin", methods=METHODS)\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Function (module text, group -> listing) that installs it; its module's name."""

    def installed(text, **groups):
        name = f"theirs_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(HEAD + text)
        info = tmp_path / "theirs-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Theirs\nVersion: 1.0\n")
        lines = []
        for group, listing in groups.items():
            targets = {task: f"{name}:{attribute}" for task, attribute in listing.items()}
            with open(tmp_path / f"{name}.py", "a") as file:
                file.write(f"\n{group.upper()}_LISTING = {targets!r}\n")
            lines.append(f"[longtail_suite.{group}]\nmine = {name}:{group.upper()}_LISTING\n")
        (info / "entry_points.txt").write_text("\n".join(lines))
        return name

    monkeypatch.syspath_prepend(tmp_path)
    return installed


def test_a_protocol_joins_a_task(package):
    name = package("MORE = (THIN,)", protocols={"longtail-cls": "MORE", "test-agnostic": "MORE"})
    catalog = Catalog.load()
    assert catalog.problems == ()
    protocol = catalog.protocol(catalog.task("longtail-cls"), "thin")
    assert catalog.protocol_with(protocol.hash, "thin") is protocol
    assert [t.name for t in catalog.accepting(protocol)] == ["longtail-cls", "test-agnostic"]
    assert catalog.protocol(catalog.task("test-agnostic"), "thin:carved").name == "thin:carved"
    assert "thin" not in catalog.task("longtail-seg").protocols.names
    # a job is given a copy of it
    assert name in catalog.packages and "theirs" in catalog.distributions


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('MORE = (replace(THIN, name="quick"),)', "has a protocol 'quick' already"),
        ("MORE = (THIN, THIN)", "two protocols are called 'thin'"),
        (
            'MORE = (replace(CLS["cpu-cifar"], name="mine"),)',
            "protocol 'mine' has the identity of 'cpu-cifar' of longtail-cls (",
        ),
        ('MORE = (replace(THIN, name="a b"),)', "'a b' is no name for a protocol"),
        ('MORE = (replace(THIN, name="a:carved"),)', "'a:carved' is no name for a protocol"),
        ('MORE = ("quick",)', "'' is no name for a protocol"),
        ('MORE = (Declared("mine", "toy", lambda: THIN),)', "ValueError: protocol 'mine' on 'toy' was declared"),
        ('MORE = (Declared("mine", "toy", lambda: 1 / 0),)', "ZeroDivisionError: division by zero"),
        ("MORE = 3", "TypeError: 'int' object is not iterable"),
        ("", "AttributeError: "),
        ("import nothing_of_theirs", "ModuleNotFoundError: No module named 'nothing_of_theirs'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def", "SyntaxError: "),
    ],
)  # fmt: skip
def test_a_broken_package_is_said_and_left_out(package, text, says):
    package(text, protocols={"longtail-cls": "MORE", "no-task": "MORE"})
    catalog = Catalog.load()
    protocols = catalog.task("longtail-cls").protocols
    assert len(protocols) == 255 or protocols.names[255:] == ("thin",)
    first = catalog.problems[0]
    assert first.startswith("package theirs: longtail_suite.protocols mine = ")
    assert says in first and first.endswith("; left out") and "\n" not in first
    if "No module" not in says and "Exit" not in says and "Syntax" not in says:
        assert "no task is called 'no-task'" in catalog.problems[-1]
    assert catalog.protocol(catalog.task("longtail-cls"), "quick").name == "quick"


def test_one_bad_protocol_takes_none_of_the_others_with_it(package):
    package('MORE = ("x", THIN)', protocols={"longtail-cls": "MORE"})
    catalog = Catalog.load()
    assert len(catalog.problems) == 1
    assert catalog.task("longtail-cls").protocols.names[-1] == "thin"


def test_a_task_takes_methods_that_do_not_know_it(package):
    package("METHODS = ('ce', 'la', 'nix')\n" + TASK, tasks={"theirs": "TASK"})
    catalog = Catalog.load()
    (said,) = catalog.problems
    assert said.startswith("task 'theirs' takes method 'nix', which is not installed; ")
    assert catalog.methods("theirs") == ["ce", "la"]
    assert "theirs" in catalog.tasks_of("ce") and "theirs" not in catalog.tasks_of("focal")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("METHODS = ()\n" + TASK.replace('"theirs"', '"others"'), "TASK is no Task of the name 'theirs'"),
        ("TASK = 3", "TASK is no Task of the name 'theirs'"),
        ("METHODS = ()\n" + TASK.replace('="thin"', '="nix"'), "lacks 'nix', its default protocol"),
        (
            'METHODS = ()\nTHIN = replace(CLS["quick"], name="thin")\n' + TASK,
            "has the identity of 'quick' of longtail-cls",
        ),
    ],
)  # fmt: skip
def test_a_broken_task_is_said_and_left_out(package, text, says):
    package(text, tasks={"theirs": "TASK", "longtail-cls": "TASK"})
    catalog = Catalog.load()
    assert any(says in line for line in catalog.problems)
    assert "theirs" not in catalog.tasks()
    assert catalog.task("longtail-cls").default_protocol == "quick"


def test_a_task_may_share_all_protocols_of_another(package):
    """None is built to know that they are the same."""
    package(
        'TASK = replace(OTHER, name="theirs", protocols=CLS, methods=("ce",))',
        tasks={"theirs": "TASK"},
    )
    catalog = Catalog.load()
    assert catalog.problems == ()
    theirs, cls = catalog.task("theirs").protocols, catalog.task("longtail-cls").protocols
    assert theirs.members == cls.members and theirs["quick"] is cls["quick"]


def test_without_any_method_the_plan_says_what_to_do(package, tmp_path):
    package("METHODS = ()\n" + TASK, tasks={"theirs": "TASK"})
    catalog = Catalog.load()
    task = catalog.task("theirs")
    with pytest.raises(UserError) as caught:
        make_plan(tmp_path, catalog, task, task.protocols["thin"])
    assert str(caught.value).startswith("task 'theirs' has no method: ")
    assert 'methods=("ce", "la")' in str(caught.value) and '"tasks": ["theirs"]' in str(
        caught.value
    )


def test_commands_say_it_on_stderr_and_work_on(package, inside):
    package("raise RuntimeError('of theirs')", protocols={"longtail-cls": "MORE"})
    for verb in (
        ("plan", "--task", "longtail-cls", "--method", "ce"),
        ("baselines",),
        ("data", "list"),
    ):
        done = inside(*verb)
        assert done.returncode == 0
        assert (
            len(re.findall(r"RuntimeError: of theirs \(\w+\.py:\d+\); left out\n", done.stderr))
            == 1
        )


def test_the_example_declares_what_it_has(tmp_path, monkeypatch):
    """As `pip install` makes it, which the process tests do."""
    import tomllib

    project = tomllib.loads((ROOT / "tests/example/pyproject.toml").read_text())["project"]
    shutil.copytree(ROOT / "tests/example/longtail_example", tmp_path / "longtail_example")
    info = tmp_path / "longtail_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n"
    )
    groups = project["entry-points"].items()
    lines = [f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for g, named in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("longtail_example")]:
        monkeypatch.delitem(sys.modules, name)
    catalog = Catalog.load()
    assert catalog.problems == ()
    assert catalog.methods("worst-class") == ["balanced-softmax", "ce", "halved"]
    thin = catalog.protocol(catalog.task("worst-class"), None)
    tasks = [task.name for task in catalog.accepting(thin)]
    assert tasks == ["longtail-cls", "test-agnostic", "worst-class"]
