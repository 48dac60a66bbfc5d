"""Where results and data are looked for, and what is said where they are not there."""

import pytest

from suite.base import settings
from suite.base.errors import UserError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    settings.config.cache_clear()
    yield
    settings.config.cache_clear()


def test_a_named_root_that_is_missing_is_no_results_folder(tmp_path):
    (tmp_path / "results").mkdir()
    for lenient in (False, True):
        with pytest.raises(UserError, match=r"--root .*/resluts: no such folder; did you mean res"):
            settings.existing_root(tmp_path / "resluts", or_none_yet=lenient)
    with pytest.raises(UserError, match="no such folder; name the folder that"):
        settings.existing_root(tmp_path / "none" / "there")
    # what makes a root takes any name
    assert settings.results_root(tmp_path / "resluts") == tmp_path / "resluts"
    assert [one.name for one in tmp_path.iterdir()] == ["results"]


def test_the_line_says_where_the_name_was_read(tmp_path, monkeypatch):
    path = tmp_path / "gone"
    monkeypatch.setenv("LONGTAIL_ROOT", str(path))
    with pytest.raises(UserError, match=r"^\$LONGTAIL_ROOT .*/gone: no such folder"):
        settings.existing_root(path)
    (tmp_path / "none" / "longtail-suite").mkdir(parents=True)
    (tmp_path / "none" / "longtail-suite" / "config.toml").write_text(f'root = "{path}"')
    settings.config.cache_clear()
    with pytest.raises(UserError, match=r"config.toml: root .*/gone: no such folder"):
        settings.existing_root(None, or_none_yet=True)


def test_the_default_root_may_not_be_there_yet(tmp_path):
    with pytest.raises(
        UserError, match=r"no results yet: there is no .*/results; `python -m suite"
    ):
        settings.existing_root(None)
    assert settings.existing_root(None, or_none_yet=True) == tmp_path / "results"
    (tmp_path / "results").mkdir()
    assert settings.existing_root(None) == tmp_path / "results"


def test_a_data_root_that_is_given_must_be_there(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"--data-root .*/dta: no such folder"):
        settings.data_root(tmp_path / "dta")
    # the nodes of a cluster may see what this machine does not
    assert settings.data_root(tmp_path / "dta", here=False) == tmp_path / "dta"
    # not every command reads what the environment names
    monkeypatch.setenv("LONGTAIL_DATA", str(tmp_path / "dta"))
    assert settings.data_root(None) == tmp_path / "dta"
