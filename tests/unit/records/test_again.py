"""Commands that make runs again: those and no other."""

from types import SimpleNamespace

import pytest

from suite.define.catalog import Catalog
from suite.records.again import Wanted, enough, run_commands, settings_of

HEAD = "python -m suite run --task t --protocol p --method "


def lines(*wanted, flags=()):
    return [str(one).removeprefix(HEAD) for one in run_commands("t", "p", wanted, *flags)]


def test_rows_that_want_the_same_seeds_share_a_command():
    assert lines(Wanted("a", (), (0, 1, 2)), Wanted("b", ("b.x=1",), (0, 1, 2))) == [
        "a,b --set b.x=1 --seeds 0-2"
    ]
    assert lines(Wanted("a", (), (0,)), Wanted("b", (), (0, 4)), flags=("--stale",)) == [
        "a --seeds 0 --stale",
        "b --seeds 0,4 --stale",
    ]


def test_rows_of_one_method_are_a_grid_or_apart():
    def row(*settings):
        return Wanted("a", settings, (0,))

    assert lines(row("a.x=1"), row("a.x=2")) == ["a --set a.x=1 --set a.x=2 --seeds 0"]
    assert lines(row("a.x=1", "a.y=5"), row("a.x=2", "a.y=5")) == [
        "a --set a.x=1 --set a.x=2 --set a.y=5 --seeds 0"
    ]
    # together they would make x=1, y=2 and x=2, y=1 too; without settings, the default row is another
    assert len(lines(row("a.x=1", "a.y=1"), row("a.x=2", "a.y=2"))) == 2
    assert len(lines(row(), row("a.x=2"))) == 2
    assert len(lines(row("a.x=1"), row("a.x=1"))) == 1


def test_settings_of_one_row_do_not_reach_another():
    plain = Wanted("second", (), (0,), ("first",))
    of_first = Wanted("first", ("first.x=1",), (0,))
    both = Wanted("second", ("first.x=1",), (0,), ("first",))
    assert len(lines(plain, of_first)) == 2
    assert lines(both, of_first) == ["second,first --set first.x=1 --seeds 0"]


def test_as_many_seeds_as_rank():
    assert enough([]) == [0, 1, 2] and enough([5]) == [0, 1, 5]
    assert enough([1, 1, 0]) == [0, 1, 2] and enough([3, 4, 5, 6]) == [3, 4, 5, 6]


@pytest.mark.usefixtures("fake")
def test_settings_say_what_differs_from_the_card():
    catalog = Catalog.load()
    protocol = catalog.task("fake").protocols["quick"]

    def side(method="steady", **params):
        default = catalog.spec(method, protocol).params
        return SimpleNamespace(method=method, params={**default, **params}, inputs={})

    assert settings_of(catalog, protocol, side()) == []
    assert settings_of(catalog, protocol, side(start=2.0)) == ["steady.start=2.0"]
    assert settings_of(catalog, protocol, side(start=2.0), said={"at"}) == [
        "steady.start=2.0",
        "steady.at=0",
    ]
    assert settings_of(catalog, protocol, side(gone=1)) is None
    assert settings_of(catalog, protocol, SimpleNamespace(method="x", params={}, inputs={})) is None
