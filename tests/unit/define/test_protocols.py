"""Protocols that are built when they are asked for, and which of them a command asks for."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from records import TASK, Records, protocol

import suite
from suite.boards.leaderboard import board
from suite.define.catalog import Catalog
from suite.define.protocols import Declared, Protocols
from suite.store.connection import connect
from suite.store.coverage import coverage


def declared(*names, built, dataset="toy", **changes):
    """Protocols of these names that note in `built` when they are built."""

    def make(name):
        built.append(name)
        return protocol(name, recipe=name, **changes)

    return [Declared(name, dataset, partial(make, name)) for name in names]


@pytest.fixture
def built():
    return []


def test_names_are_known_before_anything_is_built(built):
    known = Protocols(*declared("a", "b", "c", built=built))
    assert known.names == ("a", "b", "c") and len(known) == 3
    assert known.datasets == {"toy": "a"}
    assert known.on({"other"}).names == () and known.on({"toy"}).names == known.names
    assert known.get("d") is None
    assert built == []
    assert known["b"].name == "b" and known[0].name == "a" and known.get("b") is known["b"]
    assert built == ["b", "a"]
    assert [one.name for one in known] == ["a", "b", "c"] == sorted(built)


def test_what_is_shared_is_built_once(built):
    known = Protocols(*declared("a", "b", built=built))
    some, more = known.on({"toy"}), known.plus(protocol("c"))
    assert some["a"] is known["a"] is more["a"]
    assert more.names == ("a", "b", "c") and known.names == ("a", "b")
    assert built == ["a"]


def test_a_protocol_is_found_by_its_hash(built):
    known = Protocols(*declared("a", "b", "c", built=built))
    wanted = protocol("b", recipe="b").hash
    assert known.with_hash(wanted, "b").name == "b"
    assert built == ["b"]
    # under another name: all are looked through, once
    assert known.with_hash(wanted, "a").name == "b"
    assert sorted(built) == ["a", "b", "c"]
    assert known.with_hash("0" * 12, "a", "z") is None
    assert len(built) == 3


def test_a_protocol_of_another_task_is_none_of_these(built):
    known = Protocols(*declared("a", "b", built=built))
    assert protocol("a", recipe="a") in known and protocol("a", recipe="x") not in known
    assert protocol("z") not in known and None not in known
    assert built == ["a"]


def test_two_of_one_name_are_a_mistake(built):
    with pytest.raises(ValueError, match="two protocols are called 'a'"):
        Protocols(*declared("a", "b", "a", built=built))


def test_what_is_built_is_what_was_declared(built):
    (one,) = declared("a", built=built, dataset="elsewhere")
    with pytest.raises(ValueError, match="'a' on 'elsewhere' was declared, 'a' on 'toy' was built"):
        Protocols(one)["a"]


def test_a_task_takes_a_plain_tuple():
    task = replace(TASK, protocols=(protocol("x"), protocol("y", recipe="y")))
    assert isinstance(task.protocols, Protocols) and task.protocols.names == ("x", "y")


# -- of several tasks


@pytest.fixture
def two(built):
    """A catalog with the tasks `one` (a, b, c) and `two` (a of its own, d)."""
    return Catalog(
        {
            "one": replace(
                TASK, name="one", protocols=Protocols(*declared("a", "b", "c", built=built))
            ),
            "two": replace(
                TASK,
                name="two",
                protocols=Protocols(*declared("a", "d", built=built, test="another")),
            ),
        },
        {},
    )


def test_names_are_looked_up_in_all_tasks_before_all_are_built(two, built):
    wanted = protocol("a", recipe="a", test="another")
    found = two.protocol_with(wanted.hash, "a")
    assert found.hash == wanted.hash and built == ["a", "a"]
    assert [task.name for task in two.accepting(found)] == ["two"]
    assert two.accepted(two.task("one"), wanted.hash, "a") is None
    assert two.accepted(two.task("two"), wanted.hash, "a") is found
    assert two.protocol_with(protocol("d", recipe="d", test="another").hash, "d").name == "d"
    assert built == ["a", "a", "d"]


def test_a_renamed_protocol_is_found_in_some_task(two, built):
    wanted = protocol("c", recipe="c").hash
    assert two.protocol_with(wanted, "its old name").name == "c"
    assert built == ["a", "b", "c"]


def test_data_sets_are_those_of_the_first_protocols(two, built):
    assert set(two.datasets()) == {"toy"} and built == ["a"]


def test_a_board_builds_the_protocols_of_its_rows(two, built, tmp_path):
    records = Records(tmp_path)
    records.run("ce", under=protocol("b", recipe="b"), mIoU=0.5)
    records.run("ce", under=protocol("d", recipe="d", test="another"), mIoU=0.5)
    records.ingest()
    about = {"protocol": None, "by": None, "today": {}, "planned": [], "catalog": two}
    assert {row.protocol for row in board(tmp_path, two.task("one"), **about)} >= {"b"}
    assert sorted(built) == ["b", "d"]
    with connect(tmp_path) as store:
        assert [(c.protocol, c.current) for c in coverage(store, two.task("one"), two)] == [
            ("b", True)
        ]
    assert sorted(built) == ["b", "d"]
    # without the catalog: the run of the other task might be under a renamed protocol of this one
    about.pop("catalog")
    board(tmp_path, two.task("one"), **about)
    assert sorted(built) == ["a", "b", "c", "d"]


def test_the_names_of_abilities_stand_in_one_place():
    """Every `Ability` of the suite and the dashboard is in the table of `suite.define.task`."""
    import suite.define.task as home

    listed = dict(re.findall(r"^    (\w+) .* ([\w.]+)$", home.__doc__, re.MULTILINE))
    top = Path(suite.__file__).parents[1]
    found = {}
    for path in sorted([*top.glob("suite/**/*.py"), *top.glob("dashboard/**/*.py")]):
        for name, key in re.findall(
            r"^(\w+) = Ability\[.*\]\(\"(\w+)\"\)$", path.read_text(), re.M
        ):
            module = ".".join(path.relative_to(top).with_suffix("").parts)
            found[key] = f"{module}.{name}"
    assert found == listed and len(found) >= 7
