"""Methods of another package, found through its entry point: folders of it, names, its own bibliography."""

from importlib.metadata import EntryPoint

import pytest

from suite.define import discover
from suite.define.borrowed import BIBLIOGRAPHY
from suite.define.catalog import Catalog
from suite.define.discover import BASELINES_GROUP

METHOD = """CARD = {{
    "title": "A method", "tasks": ["any"], "names": {{"{name}": {{"summary": ""}}}}, "cite": "{key}",
}}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Function (files: name below the package -> text) that installs it as the only one with methods."""

    def installed(name, files):
        for file, text in {"__init__.py": "", **files}.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        entry = EntryPoint("mine", name, BASELINES_GROUP)
        monkeypatch.setattr(
            discover, "entry_points", lambda group: [entry] if group == BASELINES_GROUP else []
        )
        return tmp_path / name

    return installed


def test_a_package_has_a_bibliography_of_its_own(package):
    entry = "@misc{mine, title = {Mine}}"
    files = {"a/one.py": METHOD.format(name="one", key="mine"), BIBLIOGRAPHY: entry}
    package("methods_with_bibliography", files)
    assert Catalog.load().card("one").bibtex == entry


def test_a_key_that_is_in_no_bibliography(package):
    home = package(
        "methods_without_bibliography", {"a/one.py": METHOD.format(name="one", key="mine")}
    )
    (said,) = Catalog.load().problems
    assert f": {home}/a/one.py: cite: references.bib has no entry 'mine'; left out" in said


def test_one_name_in_two_folders(package):
    text = METHOD.format(name="one", key="mine")
    home = package("methods_of_one_name", {"a/one.py": text, "b/two.py": text})
    problems = Catalog.load().problems
    said = f"{home}/b/two.py: the name 'one' is taken by {home}/a/one.py; choose another"
    assert any(said in line for line in problems)
