"""NAME:carved: of every protocol that trains, found wherever a name is, and listed nowhere."""

from pathlib import Path

import pytest

from suite.base.errors import UserError
from suite.define.card import covers
from suite.define.catalog import Catalog
from suite.define.protocols import Protocols
from suite.runs.predict import extra_sets


@pytest.fixture(scope="module")
def catalog():
    return Catalog.load()


def test_every_protocol_has_one_that_differs_in_its_split_alone(catalog):
    hashes = set()
    for task in ("longtail-cls", "longtail-seg"):
        for whole in catalog.task(task).protocols:
            carved = whole.carved
            assert "val" in carved.extra_sets and carved.carved is carved
            assert {**carved.identity, "split": ""} == {**whole.identity, "split": ""}
            assert {*carved.extra_sets} == {"val", *whole.extra_sets}
            if "val" in whole.extra_sets:
                # CamVid's leave frames out already
                assert carved is whole
                continue
            assert carved.name == f"{whole.name}:carved"
            assert carved.split == f"{whole.split}+val-0.2-seed0-rule1"
            assert carved.dataset.name == whole.dataset.name
            hashes |= {whole.hash, carved.hash}
    assert len(hashes) > 600


def test_it_is_found_by_name_and_hash_and_neither_counted_nor_listed(catalog):
    protocols = catalog.task("longtail-cls").protocols
    carved = protocols["quick:carved"]
    assert carved is protocols["quick"].carved and carved in protocols
    assert protocols.get("quick:carved:carved") is None and protocols.get("nix:carved") is None
    assert not any(name.endswith(":carved") for name in protocols.names)
    assert len(protocols) == len(protocols.names) == len(list(protocols))
    for names in (("quick:carved",), ("smoke",), ()):
        assert catalog.protocol_with(carved.hash, *names) is carved
    assert catalog.accepting(carved) == [
        catalog.task("longtail-cls"),
        catalog.task("test-agnostic"),
    ]
    with pytest.raises(KeyError):
        protocols["nix:carved"]


@pytest.mark.parametrize(
    ("task", "typed", "name"),
    [
        ("longtail-cls", "quick:carved", "quick:carved"),
        ("longtail-cls", "r32-200:cifar10:carved", "r32-200:cifar10,exp,ir100,first:carved"),
        ("longtail-seg", "camvid:half:carved", "camvid:half,segformer-b0"),
        ("longtail-seg", "ade20k:carved", "ade20k:segnext-l:carved"),
    ],
)
def test_it_can_be_typed_behind_any_name(catalog, task, typed, name):
    assert catalog.protocol(catalog.task(task), typed).name == name


def test_names_are_completed_once_the_whole_name_stands_there(catalog):
    protocols = catalog.task("longtail-cls").protocols
    assert protocols.having("qui") == ["quick"]
    assert protocols.having("quick:") == protocols.having("quick:ca") == ["quick:carved"]


def test_an_unknown_name_is_said(catalog):
    with pytest.raises(UserError, match="has no protocol 'quack'; did you mean quick"):
        catalog.protocol(catalog.task("longtail-cls"), "quack:carved")


def test_a_protocol_that_trains_nothing_has_none(fake):
    catalog = Catalog.load()
    with pytest.raises(UserError, match=r"'quick' trains nothing that .* use --protocol quick$"):
        catalog.protocol(catalog.task("fake"), "quick:carved")


def test_methods_have_the_defaults_of_the_whole(catalog):
    task = catalog.task("longtail-cls")
    for name in ("quick", "r32-200:cifar100", "r32-200-rot:cifar10"):
        whole, carved = (catalog.protocol(task, name + end) for end in ("", ":carved"))
        for method in catalog.methods(task.name):
            assert catalog.resolve(method, carved, {}) == catalog.resolve(method, whole, {})


def test_published_numbers_are_of_the_whole():
    assert covers("r32-200:cifar10", "r32-200:cifar10,exp,ir100,first")
    assert not covers("r32-200:cifar10", "r32-200:cifar10,exp,ir100,first:carved")
    assert covers("r32-200:cifar10:carved", "r32-200:cifar10,exp,ir100,first:carved")


@pytest.mark.slow
def test_counts_and_groups_are_of_what_is_trained(catalog):
    whole = catalog.protocol(catalog.task("longtail-cls"), "quick")
    config, facts = whole.carved.build(Path())
    before = whole.build(Path())[1]
    assert facts.class_counts == (96, 63, 42, 28, 18, 12, 8, 5, 3, 2)
    assert before.class_counts == (120, 79, 52, 35, 23, 15, 10, 6, 4, 3)
    assert facts.groups == whole.carved.dataset.groups
    # strictly above 40 and below 10, as the rule that is printed says
    assert facts.groups == {"head": (0, 1, 2), "medium": (3, 4, 5), "tail": (6, 7, 8, 9)}
    assert before.groups["tail"] == (7, 8, 9)
    assert (facts.iterations, facts.batch) == (before.iterations, before.batch)
    part = {"part": "train", "fraction": 0.2, "seed": 0}
    assert config["train_dataloader"]["dataset"]["carved"] == part
    # what looks at training images sees those alone
    assert config["prediction_hooks"]["sharpness"]["dataset"]["carved"] == part
    sets = config["prediction_dataloaders"]
    # of which the geometry is too
    assert config["prediction_hooks"]["collapse"] == {"type": "CollapseHook", "split": "train"}
    assert sets["train"]["dataset"]["carved"] == part
    assert sets["val"]["dataset"] == {**sets["train"]["dataset"], "carved": {**part, "part": "val"}}
    assert "carved" not in config["test_dataloader"]["dataset"]
    assert all("carved" not in str(loader) for name, loader in sets.items() if "view" in name)


def test_a_rule_that_counts_nothing_says_of_what_it_was(catalog):
    carved = catalog.task("longtail-seg").protocols["quick:carved"]
    assert carved.dataset.group_rule.endswith("(before the validation set was left out)")


def test_without_validation_images_the_set_val_is_told_where_there_are_some(catalog):
    protocols = catalog.task("longtail-seg").protocols
    assert extra_sets(protocols["quick:carved"], ["val"]) == ("val",)
    with pytest.raises(UserError) as caught:
        extra_sets(protocols["quick"], ["val"])
    assert str(caught.value).endswith("under 'quick:carved': add --protocol quick:carved")
    assert "\n" not in str(caught.value)


def test_protocols_of_one_name_are_still_refused(catalog):
    whole = catalog.task("longtail-cls").protocols["quick"]
    with pytest.raises(ValueError, match="two protocols are called 'quick'"):
        Protocols(whole, whole)
