"""Values that users type or write: whatever is no finite number of a run is one clear line."""

import pytest

from suite.base import settings
from suite.base.errors import UserError
from suite.define.card import another_value, check_value, parse_setting
from suite.define.catalog import Catalog
from suite.dispatch.request import requested_site, sites
from tasks.longtail_seg.settings import as_json

LONG = "1" + "0" * 5000


@pytest.mark.parametrize("value", ["1e400", "-1e400", "[1e400]", "[0.5, -1e999]", "[[1e400]]"])
def test_an_infinite_number_is_none(value):
    with pytest.raises(UserError) as caught:
        parse_setting(f"focal.gamma={value}", ["focal"])
    assert str(caught.value) == f"--set focal.gamma={value}: not a finite number"


@pytest.mark.parametrize("value", ["nan", "inf", "1e999j", "...", "{1e400}", "b'x'", LONG])
def test_what_is_no_value_is_a_text(value):
    """So that the parameter says what it takes."""
    assert parse_setting(f"focal.gamma={value}", ["focal"]).value == value


@pytest.mark.parametrize(
    ("method", "setting", "says"),
    [
        ("focal", "gamma=1e400", "not a finite number"),
        ("focal", f"gamma=1{'0' * 400}", "the number is too large"),
        ("focal", "gamma=...", "gamma='...' is not of type float"),
        ("sade", f"adapt_epochs=1{'0' * 30}", "the number is too large"),
        ("sse-sam", "loss=1e400", "not a finite number"),
        ("etf", "rotation=1000", "rotation=1000 is above 999"),
        ("etf", "permutation=-1", "permutation=-1 is below 0"),
        ("etf", "rotation=2.0", "rotation=2.0 is neither a whole number nor None"),
        ("etf", "rotation=True", "rotation=True is neither a number nor None"),
    ],
)
def test_commands_say_it_in_one_line(inside, method, setting, says):
    arguments = ("--task", "longtail-cls", "--protocol", "smoke", "--method", method)
    done = inside("plan", *arguments, "--set", f"{method}.{setting}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: --set {method}.") and says in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_optional_whole_number_stays_one():
    catalog = Catalog.load()
    protocol = catalog.task("longtail-cls").protocols["quick"]
    value = catalog.resolve("etf", protocol, {"rotation": 3})["rotation"]
    assert value == 3 and isinstance(value, int)
    assert catalog.resolve("etf", protocol, {})["rotation"] is None
    # without `whole` it is a float
    value = catalog.resolve("ldam", protocol, {"weight_decay": 1})["weight_decay"]
    assert isinstance(value, float)


def test_a_number_that_is_the_largest_is_taken():
    catalog = Catalog.load()
    protocol = catalog.task("longtail-cls").protocols["quick"]
    assert catalog.resolve("sade", protocol, {"adapt_epochs": 2**63 - 1})
    with pytest.raises(UserError, match="too large"):
        catalog.resolve("sade", protocol, {"adapt_epochs": 2**63})


@pytest.mark.parametrize("flag", ["pack", "mem", "time", "gpus_per_node"])
def test_what_a_job_asks_for_has_no_5000_digits(flag, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=flag.replace("_", ".")):
        requested_site(None, {"partition": "x", flag: LONG})


@pytest.mark.parametrize("value", ["inf", "nan", "1e400", LONG])
def test_files_of_settings(value, monkeypatch, tmp_path):
    path = tmp_path / "sites.toml"
    path.write_text(f"[lab]\npartition = 'x'\ncpus_per_task = {value}\n")
    monkeypatch.setenv("LONGTAIL_SITES", str(path))
    with pytest.raises(UserError, match=r"sites\.toml: "):
        sites()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = settings.config_path()
    path.parent.mkdir(parents=True)
    path.write_text(f"data_root = {value}\n")
    settings.config.cache_clear()
    with pytest.raises(UserError, match=r"config\.toml: "):
        settings.config()
    settings.config.cache_clear()


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**63, -(2**70)])
def test_numbers_of_a_config_file(value):
    with pytest.raises(UserError, match=r"no form for|too large"):
        as_json({"lr": value}, "my_cfg.py", "")


def test_a_suggested_value_is_another_one_that_the_card_takes():
    catalog = Catalog.load()
    suggested = 0
    for task in catalog.tasks():
        for method in catalog.methods(task):
            card = catalog.card(method)
            for key, param in card.params.items():
                value = another_value(card, key, [param.default])
                if isinstance(param.default, str) and param.choices is None:
                    assert value is None
                    continue
                if value is not None:
                    assert check_value(card, method, key, value) == value != param.default
                    suggested += 1
    assert suggested > 100
    etf = catalog.card("etf")
    assert another_value(etf, "permutation", [None, 0, 1]) == 2
    assert another_value(etf, "nothing", []) is None
    assert another_value(catalog.card("code-3"), "d", [2, 3, 5]) is None
