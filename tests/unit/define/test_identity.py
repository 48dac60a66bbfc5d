"""Hashes and digests as they were when the code was still laid out otherwise: moves and mended words change
none of them. `golden_identity.json` is never brought up to date; what is new is not in it."""

import json
import shutil

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.digest import Code, first_digest, method_digest
from suite.define.history import History
from suite.define.protocol import recipe_digest
from suite.define.syntax import EMPTY, parsed
from suite.records.inputs import digest_of
from suite.records.lookup import all_attempts

GOLDEN = json.loads((ROOT / "tests/unit/define/golden_identity.json").read_text())


CORRECTED_PROTOCOLS = {
    "longtail-cls|inat18:": "the standard deviations of green and blue were swapped",
    "longtail-cls|r32-400-aa:": "AutoAugment and Cutout are the unified study's own form",
    "longtail-cls|r34-200:": "the stem starts as in SSE-SAM's code (revision 2)",
}
"""Protocols that were corrected on purpose since, and must not have the hash of before: beginnings of their names, and
why."""


@pytest.fixture(scope="module")
def catalog():
    return Catalog.load()


def test_hashes_of_protocols_and_evaluations_are_those_of_before(catalog):
    changed = set()
    for name, hashes in GOLDEN["protocols"].items():
        found = {p.name: p.hash for p in catalog.task(name).protocols}
        for protocol, before in hashes.items():
            key = f"{name}|{protocol}"
            assert protocol in found
            assert (found[protocol] != before) == key.startswith(tuple(CORRECTED_PROTOCOLS)), key
            changed |= {start for start in CORRECTED_PROTOCOLS if key.startswith(start)}
    assert changed == set(CORRECTED_PROTOCOLS)
    for name, hashes in GOLDEN["evaluations"].items():
        task = catalog.task(name)
        found = {p.name: task.evaluation_hash(p) for p in task.protocols}
        assert {key: found.get(key) for key in hashes} == hashes


FORMER = {
    "las": {"head": 0.3, "tail": 0.0, "over": "others"},
    "seesaw": {"floor": 0.0},
    "seesaw-seg": {"floor": 0.0},
    "wb": {"switch": 0.95, "loss2": "ce", "project": "step", "batch_statistics": False},
    "dirmixe": {"capped": False},
    "ride": {"diversity": 0.2},
    "balpoe": {"alpha": 0.4},
    "aucseg": {"half": False, "placement": "tight"},
    "aucseg-nobank": {"half": False, "placement": "tight"},
    "aucseg-exp": {"placement": "tight"},
    "aucseg-hinge": {"placement": "tight"},
    "tmb": {"placement": "tight"},
}
"""Defaults when the ids were written down. Those of today follow the authors' code; a default may change, but
what was trained with the former one goes on to be the same run: its new parameters are left out of the identity at
their neutral values."""


def test_run_ids_are_those_of_before(catalog):
    for key, run_id in GOLDEN["runs"].items():
        task, protocol, method, seed = key.split("|")
        under = catalog.protocol(catalog.task(task), protocol)
        former = FORMER.get(method, {})
        assert catalog.spec(method, under, int(seed), former).run_id == run_id, key


@pytest.mark.parametrize("method", sorted(FORMER))
def test_what_is_trained_with_a_new_default_is_another_run(catalog, method):
    golden = [key for key in GOLDEN["runs"] if f"|{method}|" in key]
    assert golden
    found = 0
    for key in golden:
        task, protocol, _, seed = key.split("|")
        spec = catalog.spec(method, catalog.protocol(catalog.task(task), protocol), int(seed))
        found += spec.run_id != GOLDEN["runs"][key]
    # some follow the authors for some protocols only
    some = ("ride", "balpoe", "aucseg", "aucseg-nobank", "aucseg-exp", "aucseg-hinge", "tmb")
    assert found == len(golden) if method not in some else 0 < found < len(golden)


def test_no_reference_run_is_of_a_corrected_protocol():
    corrected = tuple(key.partition("|")[2] for key in CORRECTED_PROTOCOLS)
    for attempt in all_attempts(ROOT / "results/reference"):
        assert not attempt.record().spec.protocol.startswith(corrected), attempt


@pytest.mark.parametrize("method", sorted(GOLDEN["digests"]))
def test_code_recorded_before_is_todays(catalog, method):
    """By the digest of both versions; where today's code is another, by an attested change."""
    today = catalog.code.digests[method]
    catalog.code.digest(method, {}, {})
    for digest in GOLDEN["digests"][method]:
        linked = catalog.code.links.get(method)
        assert linked or catalog.code.same(digest, today)
        assert digest in {today} | catalog.code.before(method)


def test_all_reference_runs_are_of_todays_code(catalog):
    root = ROOT / "results/reference"
    records = [attempt.record() for attempt in all_attempts(root)]
    assert len(records) >= 151
    stale = [
        record.run_id
        for record in records
        if not catalog.code.same(record.digest, digest_of(root, catalog, record.spec))
    ]
    assert stale == []


def test_all_reference_runs_count_on_their_boards(tmp_path, inside):
    shutil.copytree(ROOT / "results/reference", tmp_path / "reference")
    counted = set()
    for task in ("longtail-seg", "longtail-cls"):
        done = inside("leaderboard", "--task", task, "--root", "reference", "--format", "json")
        assert done.returncode == 0, done.stderr
        for row in json.loads(done.stdout)["rows"]:
            assert row["state"] != "stale", row["method"]
            counted |= set(row["runs"])
    assert len(counted) >= 151


# -- the digest's form

FILE = '''"""Says what it is."""
CARD = {
    "title": "t",
}
from baselines.losses import mean
import torch


def loss(x, weight=None):
    """Docs."""
    # why
    if weight is None:
        return mean(x)
    return (lambda y: y * weight)(x)
'''


def digest(text, own=("baselines",)):
    return parsed(text.encode(), own).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Says what it is."""', ""),
        ('"""Docs."""', '"""Other words."""'),
        ('    """Docs."""\n', ""),
        ("    # why\n", ""),
        ('"title": "t"', '"title": "u"'),
        ("baselines.losses", "baselines.parts.losses"),
        ("from baselines.losses", "from .losses"),
        (
            "from baselines.losses import mean\nimport torch",
            "import torch\nfrom suite.x import mean",
        ),
        ("mean(x)", "mean( x, )"),
    ],
)
def test_prose_layout_and_places_change_nothing(old, new):
    assert old in FILE
    assert digest(FILE.replace(old, new)) == digest(FILE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import mean", "import total as mean"),
        ("import torch", "import numpy as torch"),
        ("import torch", "import torch, math"),
        ("weight=None", "weight=0"),
        ("weight is None", "weight == None"),
        ("y * weight", "y / weight"),
        ("return mean(x)", "yield mean(x)"),
        ("def loss", "async def loss"),
        ("mean(x)", "mean(1)"),
        ("mean(x)", "mean(x, 'x')"),
    ],
)
def test_a_change_of_the_code_changes_the_digest(old, new):
    assert old in FILE
    assert digest(FILE.replace(old, new)) != digest(FILE)


def test_constants_of_other_types_are_others():
    texts = ["x = 1", "x = 1.0", "x = True", "x = '1'", "x = b'1'", "x = None", "x = ...", "x = 1j"]
    assert len({digest(text) for text in texts}) == len(texts)


def test_a_file_that_says_nothing_has_no_digest():
    assert digest('"""Baselines."""\n') == digest("") == digest("pass") == EMPTY
    assert digest("from a import b") != EMPTY


def test_text_that_is_no_python_is_covered_as_it_is():
    assert digest("def (") != digest("def  (")
    assert digest("def (") != EMPTY


@given(st.text("(){}[]=:,.'\"\n abc01+-*#\\", max_size=40))
def test_any_text_has_a_digest(text):
    assert digest(text) == digest(text)


def test_files_may_move_within_their_package(tmp_path):
    def package(name, helper, home):
        top = tmp_path / name / "methods"
        (top / home).mkdir(parents=True)
        for folder in {top, top / home, top / helper}:
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").write_text('"""Methods."""\n')
        (top / helper / "parts.py").write_text("def mean(x):\n    return x\n")
        source = (
            f"import methods.{helper}.parts\nfrom methods.{helper}.parts import mean\nloss = mean\n"
        )
        (top / home / "one.py").write_text(source)
        return top, top / home / "one.py"

    top, first = package("a", "shared", "here")
    _, second = package("b", "deep", "there")
    assert method_digest(first) == method_digest(second)
    assert first_digest(first) != first_digest(second)
    assert method_digest(first) != digest((top / "here/one.py").read_text(), ("methods",))[:12]


# -- what stands for the same code


def history(tmp_path, frozen="", attested=""):
    (tmp_path / "frozen.toml").write_text(frozen)
    (tmp_path / "attested.toml").write_text(attested)
    return History(tmp_path / "frozen.toml", tmp_path / "attested.toml")


def line(method, before, after):
    return (
        f'[[attested]]\nmethod = "{method}"\nbefore = "{before}"\nafter = "{after}"\n'
        'commit = "c"\nevidence = "e"\n[attested.protocols]\nsmoke = "h"\n'
    )


def test_changes_are_followed_over_any_number_of_steps(tmp_path):
    known = history(tmp_path, 'a = ["v1", "v2"]', line("a", "v2", "v3") + line("a", "v3", "v4"))
    assert known.before("a", "v4") == {"v1", "v2", "v3"}
    assert known.before("a", "v2") == {"v1"}
    # another method, another change, and a way back that nobody attested
    assert known.before("b", "v4") == known.before("a", "v5") == known.before("a", "v1") == set()


def test_an_attested_circle_ends(tmp_path):
    known = history(tmp_path, attested=line("a", "x", "y") + line("a", "y", "x"))
    assert known.before("a", "x") == {"y"}


@pytest.mark.parametrize("text", ["a = 1", "[[attested]]\nmethod = 1", "[", "x = 2"])
def test_a_damaged_file_of_attestations_is_named(tmp_path, text):
    with pytest.raises(UserError, match=r"attested\.toml"):
        history(tmp_path, attested=text).before("a", "x")


def test_a_run_of_several_methods_is_the_same_where_each_is():
    before = {"sam": frozenset({"s1"}), "ldam": frozenset({"l1", "l2"}), "ce": frozenset({"c1"})}
    code = Code(
        {"sam": "s", "ldam": "l", "ce": "c", "crt": "r"},
        {"sam": ["loss"]},
        frozenset({"crt"}),
        lambda method: before.get(method, frozenset()),
    )

    def old(own, inner):
        return Code({"sam": own, "ldam": inner}, {"sam": ["loss"]}).digest(
            "sam", {"loss": "ldam"}, {}
        )

    today = code.digest("sam", {"loss": "ldam"}, {})
    for own in ("s", "s1"):
        for inner in ("l", "l1", "l2"):
            assert code.same(old(own, inner), today)
    assert not code.same(old("s", "other"), today)
    assert not code.same("s", today) and not code.same(None, today)

    of_input = code.digest("ce", {}, {})
    of_run = code.digest("crt", {}, {"stage1": of_input})
    recorded = Code({"crt": "r"}).digest("crt", {}, {"stage1": "c1"})
    assert code.same(recorded, of_run)
    assert not code.same(Code({"crt": "r"}).digest("crt", {}, {"stage1": "c2"}), of_run)


def test_what_a_config_imports_is_no_part_of_a_new_recipe():
    config = {
        "lr": 0.1,
        "custom_imports": {"imports": ["tasks.a.b"], "allow_failed_imports": False},
    }
    moved = {**config, "custom_imports": {**config["custom_imports"], "imports": ["tasks.c"]}}
    assert recipe_digest(config) == recipe_digest(moved) == recipe_digest({"lr": 0.1})
    assert recipe_digest(config, {}) == recipe_digest(moved, {"tasks.c": "tasks.a.b"})
    assert recipe_digest(config, {}) != recipe_digest(moved, {})
    assert recipe_digest({**config, "lr": 0.2}) != recipe_digest(config)


def test_words_for_people_are_no_part_of_a_protocols_hash(catalog):
    from dataclasses import replace

    protocol = catalog.protocol(catalog.task("longtail-cls"), "smoke")
    worded = replace(protocol, texts={"test": "in other words"})
    assert worded.hash == protocol.hash
    assert worded.described["test"] == "in other words" != worded.identity["test"]
