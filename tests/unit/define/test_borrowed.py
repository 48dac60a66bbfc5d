"""What a card takes from elsewhere: BibTeX by key, a parameter from another method."""

import re
from pathlib import Path

import msgspec
import pytest

import baselines
from suite.base.errors import UserError
from suite.define.borrowed import BIBLIOGRAPHY, complete, read_bibliography
from suite.define.card import WrittenCard, read_card
from suite.define.catalog import Catalog

HOME = Path(baselines.__file__).parent
HERE = Path("mine.py")


def card(params=None, name="mine", **more):
    said = {"title": "Mine", "tasks": ["t"], "names": {name: {"summary": ""}}, **more}
    return msgspec.convert({**said, "params": params or {}}, WrittenCard)


def completed(mine, *others, bibliography=None):
    cards = {name: one for one in (mine, *others) for name in one.names}
    return complete(HERE, mine, cards, bibliography or {})


def written():
    return [one for path in sorted(HOME.rglob("[!_]*.py")) if (one := read_card(path))]


def keys(one):
    return [one.cite] if isinstance(one.cite, str) else one.cite


# -- BibTeX
def test_every_entry_is_cited_and_every_key_is_there():
    entries = read_bibliography(HOME / BIBLIOGRAPHY)
    assert {key for one in written() for key in keys(one)} == set(entries)
    assert not any(one.bibtex for one in written())
    # no text of the file lies outside its entries
    assert (HOME / BIBLIOGRAPHY).read_text() == "\n\n".join(entries.values()) + "\n"
    assert list(entries) == sorted(entries)


def test_a_method_shows_the_entries_it_cites(tmp_path):
    entries = read_bibliography(HOME / BIBLIOGRAPHY)
    catalog = Catalog.load()
    assert catalog.card("ldam").bibtex == entries["cao2019learning"]
    two = entries["zhang2018mixup"] + "\n" + entries["chou2020remix"]
    assert catalog.card("remix").bibtex == two
    assert catalog.card("ce").bibtex == ""


def test_an_entry_ends_with_the_brace_that_closes_it(tmp_path):
    path = tmp_path / BIBLIOGRAPHY
    nested = "@misc{a,\n  title = {{CE} and {mail @x{y, z}}},\n}"
    path.write_text(f"% a note\n{nested}\n@string{{x = 1}}\n@Article{{ b:2, year = 1}} more\n")
    assert read_bibliography(path) == {"a": nested, "b:2": "@Article{ b:2, year = 1}"}
    assert read_bibliography(tmp_path / "none.bib") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@misc{a, title = {x}\n", "entry 'a' has no closing brace"),
        ("@misc{a, x = 1}\n@misc{a, x = 2}", "two entries are called 'a'"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_bibliography_that_is_none(tmp_path, text, said):
    path = tmp_path / BIBLIOGRAPHY
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=re.escape(f"{path}: {said}")):
        read_bibliography(path)


def test_bibtex_is_text_or_keys():
    bibliography = {"a": "@misc{a, x}", "b": "@misc{b, y}"}
    assert completed(card(bibtex="@misc{own, z}")).bibtex == "@misc{own, z}"
    assert completed(card(cite="a"), bibliography=bibliography).bibtex == "@misc{a, x}"
    two = completed(card(cite=["b", "a"]), bibliography=bibliography).bibtex
    assert two == "@misc{b, y}\n@misc{a, x}"
    with pytest.raises(UserError, match=r"mine\.py: CARD has both 'cite' and 'bibtex'"):
        completed(card(cite="a", bibtex="@misc{a, x}"), bibliography=bibliography)
    with pytest.raises(UserError, match=r"mine\.py: cite: .* no entry 'bb'; did you mean b\?"):
        completed(card(cite="bb"), bibliography=bibliography)


# -- parameters
MARGIN = {"default": 0.5, "low": 0.0, "help": "of the rarest class"}


def test_a_parameter_may_be_another_methods():
    other = card({"margin": MARGIN}, "other")
    between = card({"margin": "other"}, "between")
    mine = card({"first": {"default": 1}, "margin": "between", "last": {"default": 2}})
    params = completed(mine, between, other).params
    assert list(params) == ["first", "margin", "last"]
    rest = {"high": None, "choices": None, "method": False, "whole": False}
    assert msgspec.to_builtins(params["margin"]) == {**MARGIN, **rest}


def test_presets_are_held_against_the_parameter_taken():
    other = card({"margin": MARGIN}, "other")
    names = {"mine": {"summary": "", "params": {"margin": -1.0}}}
    with pytest.raises(UserError, match=r"mine\.py: mine: margin=-1\.0 is below 0\.0"):
        completed(card({"margin": "other"}, names=names), other)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"margin": "othre"}, "is taken from 'othre', which is no method; did you mean other"),
        ({"margn": "other"}, "which has no such parameter; did you mean margin?"),
        ({"margin": "mine"}, "mine takes it from mine; one must define it"),
        ({"round": "other"}, "other takes it from more takes it from other; one must define it"),
    ],
)
def test_a_parameter_that_leads_nowhere(params, said):
    (key,) = params
    other = card({"margin": MARGIN, "round": "more"}, "other")
    more = card({"round": "other"}, "more")
    with pytest.raises(UserError) as caught:
        completed(card(params), other, more)
    assert str(caught.value).startswith(f"mine.py: parameter {key!r}: ")
    assert said in str(caught.value)


def test_a_plug_in_takes_from_a_built_in_method(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        'CARD = {\n    "title": "Mine", "tasks": ["longtail-cls"], "cite": "lin2017focal",\n'
        '    "names": {"mine": {"summary": "", "params": {"gamma": 1.0}}},\n'
        '    "params": {"gamma": "focal"},\n}\n\n\ndef configure(cfg, facts, gamma):\n    return cfg\n'
    )
    assert read_card(plugin).params == {"gamma": "focal"}
    catalog = Catalog.load([plugin])
    mine, focal = catalog.card("mine"), catalog.card("focal")
    assert mine.params == {"gamma": focal.params["gamma"]}
    assert mine.bibtex == focal.bibtex
    plugin.write_text(plugin.read_text().replace('"focal"', '"foca"'))
    with pytest.raises(UserError, match=r"mine\.py: parameter 'gamma': .* did you mean focal"):
        Catalog.load([plugin])


def test_a_parameter_that_stands_twice_is_named_once():
    seen = {}
    for one in written():
        for key, param in one.params.items():
            if not isinstance(param, str):
                first = seen.setdefault((key, repr(param)), one.title)
                assert first == one.title, f"{one.title} repeats {key!r} of {first}"
