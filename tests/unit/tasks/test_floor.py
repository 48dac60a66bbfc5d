"""The shared floor stands below all tasks."""

import ast

from conftest import ROOT


def test_the_floor_imports_no_task():
    above = {path.name for path in (ROOT / "tasks").iterdir() if path.is_dir()} - {"vision"}
    assert "longtail_cls" in above
    for path in sorted((ROOT / "tasks/vision").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text()))
        names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        parts = [name.split(".") for name in names]
        assert not [part for part in parts if part[0] == "tasks" and part[1] in above], path
