"""Things that went wrong once: hostile files, odd input, unfair methods."""

import contextlib
import json
import os
from pathlib import Path

import msgspec
import pytest

from suite.base.canonical import canonical, short_hash
from suite.base.errors import RecordError, UserError
from suite.cli.output import duration
from suite.define.card import Card, check_value, parse_setting
from suite.define.catalog import Catalog
from suite.define.digest import method_files
from suite.define.metrics import MetricRow
from suite.records.attempt import Attempt, attempts
from suite.records.files import Failure
from suite.runs.evaluate import evaluate_attempt
from suite.runs.job import Assignment
from suite.runs.plan import make_plan
from suite.runs.worker import execute

pytestmark = pytest.mark.usefixtures("fake")

PLUGIN = """
CARD = {{
    "title": "Mine",
    "tasks": ["fake"],
    "names": {{"{name}": {{"summary": "mine"}}}},
}}


def configure(cfg, facts):
    return {{"start": {start}, "sleep": 0.0, "at": 0, "what": "none"}}
"""


def plan_of(catalog, root, *methods, **options):
    task = catalog.task("fake")
    return make_plan(
        root, catalog, task, catalog.protocol(task, "quick"), methods=methods, **options
    )


def carry_out(catalog, root, item):
    assignment = Assignment(
        spec=item.spec, attempt=item.attempt.number, digest=item.digest, root=str(root)
    )
    return execute(assignment, catalog)


def test_two_plugins_of_one_stem_keep_their_own_code(tmp_path):
    files = []
    for folder, start in (("a", 1.0), ("b", 50.0)):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "my.py")
        files[-1].write_text(PLUGIN.format(name=folder, start=start))
    catalog = Catalog.load(files)
    scores = []
    for item in plan_of(catalog, tmp_path, "a", "b").items:
        assert carry_out(catalog, tmp_path, item).state == "done"
        scores.append(float(item.attempt.predictions()["test"]["score"][0]))
    assert scores[1] - scores[0] == pytest.approx(49 / 120)


def test_digest_covers_helpers_of_a_nested_package(tmp_path):
    package = tmp_path / "org" / "methods"
    (package / "sub").mkdir(parents=True)
    for folder in (package.parent, package, package / "sub"):
        (folder / "__init__.py").write_text("")
    (package / "m.py").write_text("from org.methods.helper import f\nfrom .sub import deep\n")
    (package / "helper.py").write_text("from ..methods import other\n")
    (package / "other.py").write_text("x = 1\n")
    (package / "sub" / "deep.py").write_text("this is no python\n")
    assert set(method_files(package / "m.py")) == {
        "org/methods/m.py",
        "org/methods/helper.py",
        "org/methods/other.py",
        "org/methods/sub/deep.py",
    }


def test_digest_covers_imports_wherever_they_stand(tmp_path):
    package = tmp_path / "org"
    package.mkdir()
    (package / "__init__.py").write_text("")
    places = {
        "loop": "for i in ():\n    pass\nelse:\n    from org import loop\n",
        "tried": "try:\n    pass\nexcept* ValueError:\n    from . import tried\n",
        "last": "try:\n    pass\nfinally:\n    import org.last\n",
        "inner": "class A:\n    async def f(self):\n        with x:\n            import org.inner as i\n",
        "case": "match 1:\n    case 1:\n        if x:\n            from org.case import y\n",
    }
    (package / "m.py").write_text("".join(places.values()) + "f = lambda: 1 if x else 2\n")
    for name in places:
        (package / f"{name}.py").write_text("x = 1\n")
    names = {Path(name).stem for name in method_files(package / "m.py")}
    assert names == {"m", *places}


def test_what_has_no_json_form_is_no_identity():
    assert canonical({"b": None, "a": [1.5]}) == b'{"a":[1.5],"b":null}'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="has no JSON form"):
            short_hash({"a": [{"b": (None, value)}]})


def test_the_digest_is_of_the_code_and_not_of_the_card(tmp_path):
    def digest(text):
        path = tmp_path / f"m{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return list(method_files(path).values())

    file = 'CARD = {\n    "title": "t",\n}\n\nx = 1\n'
    assert digest(file) == digest(file.replace('"t"', '"another\\n}"'))
    assert digest(file) == digest(file.replace("\n", "\r\n"))
    assert digest(file) != digest(file.replace("x = 1", "x = 2"))
    # a second literal of that name is code like any other
    assert digest(file + file) != digest(file + file.replace('"t"', '"u"'))


def card(**param):
    raw = {"title": "t", "tasks": [], "names": {}, "params": {"p": param}}
    return msgspec.convert(raw, Card)


def test_one_value_is_one_identity():
    numbers = card(default=1.0, choices=[1.0, 2.0])
    assert repr(check_value(numbers, "", "p", 1)) == "1.0"
    with pytest.raises(UserError, match="not of type float"):
        check_value(numbers, "", "p", True)
    assert repr(check_value(card(default=0.0), "", "p", -0.0)) == "0.0"
    with pytest.raises(UserError, match="too large"):
        check_value(card(default=0.0), "", "p", 10**400)
    with pytest.raises(UserError, match="not finite"):
        check_value(card(default=[1.0]), "", "p", [float("inf")])
    assert parse_setting("m.p={[]:1}") == ("m", "p", "{[]:1}", "{[]:1}")
    assert parse_setting("m.p.q=1", ["m"]) == ("m", "p.q", 1, "1")
    assert parse_setting("m.p.q=1", ["m", "m.p"]) == ("m.p", "q", 1, "1")
    assert parse_setting("m.p.q=1") == ("m.p", "q", 1, "1")


def test_damaged_evaluation_is_made_again(tmp_path):
    catalog = Catalog.load()
    (item,) = plan_of(catalog, tmp_path, "steady", settings=["steady.sleep=0.0"]).items
    carry_out(catalog, tmp_path, item)
    (file,) = (item.attempt.path / "evaluations").iterdir()
    whole = json.loads(file.read_bytes())["metrics"]
    file.write_bytes(file.read_bytes()[:40])
    carry_out(catalog, tmp_path, item)
    assert json.loads(file.read_bytes())["metrics"] == whole


def test_a_wanted_run_that_the_store_refuses_is_said_and_exit_code_one(suite, tmp_path):
    run = ("run", "--task", "fake", "--method", "steady")
    assert suite(*run).returncode == 0
    (record,) = tmp_path.glob("results/runs/*/1/record.json")
    content = json.loads(record.read_bytes())
    del content["cost"]
    record.write_text(json.dumps(content))
    again = suite(*run)
    assert again.returncode == 1
    assert "has a damaged file" in again.stderr
    assert suite(*run, "--fresh").returncode == 1  # the old attempt is still there, and still named
    printed = suite("leaderboard", "--task", "fake", "--format", "json")
    (row,) = (r for r in json.loads(printed.stdout)["rows"] if r["method"] == "steady")
    assert (row["state"], row["n"]) == ("done", 1)


def test_failure_found_by_another_worker_is_not_trained_again(tmp_path):
    catalog = Catalog.load()
    options = dict(settings=["steady.sleep=0.0", "steady.what=code", "steady.at=3"])
    (item,) = plan_of(catalog, tmp_path, "steady", **options).items
    first = carry_out(catalog, tmp_path, item)
    second = carry_out(catalog, tmp_path, item)
    assert first.failure == second.failure
    assert item.attempt.status().restarts == 0


def test_stray_folders_are_no_attempts(tmp_path):
    catalog = Catalog.load()
    (item,) = plan_of(catalog, tmp_path, "steady").items
    item.attempt.create(item.spec)
    (tmp_path / "runs" / item.spec.run_id / "999999999999999999").mkdir()
    (tmp_path / "runs" / item.spec.run_id / "02").mkdir()
    assert [a.number for a in attempts(tmp_path, item.spec.run_id)] == [1]


@pytest.mark.parametrize("name", ["record.json", "status.json"])
def test_a_pipe_or_folder_in_a_files_place_stops_nobody(tmp_path, name):
    catalog = Catalog.load()
    (item,) = plan_of(catalog, tmp_path, "steady").items
    item.attempt.create(item.spec)
    path = item.attempt.path / name
    for make in (os.mkfifo, os.mkdir):
        make(path)
        plan_of(catalog, tmp_path, "steady")
        os.unlink(path) if path.is_fifo() else path.rmdir()


def test_damaged_predictions_are_a_record_error(tmp_path):
    attempt = Attempt(tmp_path, "0" * 12, 1)
    attempt.path.mkdir(parents=True)
    import numpy as np

    attempt.write_predictions({"test": {"a": np.arange(1000)}})
    path = attempt.path / "predictions.npz"
    whole = bytearray(path.read_bytes())
    for position in range(0, len(whole), 7):
        broken = whole.copy()
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        with contextlib.suppress(RecordError):  # nothing else may come out
            attempt.predictions()
    np.save(tmp_path / "plain.npy", np.arange(3))
    path.write_bytes((tmp_path / "plain.npy").read_bytes())
    with pytest.raises(RecordError):
        attempt.predictions()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--checkpoint-seconds", "nan"), "--checkpoint-seconds"),
        (("--time-limit", "inf"), "--time-limit"),
        (("--seeds", "4294967296"), "seeds lie in"),
        (("--workers", "1000000000000"), "at most"),
        (("--root", "/proc/nowhere"), "cannot be written"),
        (("--root", "~nosuchuser/x"), "~nosuchuser/x"),
    ],
)
def test_odd_input_is_one_line(inside, arguments, part):
    result = inside("run", "--task", "fake", "--method", "steady", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ")
    assert part in result.stderr
    assert result.stderr.count("\n") == 1


def test_plugin_that_exits_on_import(inside, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys\nCARD = {\n    'title': 't',\n    'tasks': [],\n"
        "    'names': {'x': {'summary': ''}},\n}\nsys.exit(0)\n"
    )
    result = inside("run", "--task", "fake", "--plugin", "mine.py")
    assert result.returncode == 2
    assert "raises on import: SystemExit" in result.stderr


def test_escapes_from_records_reach_no_terminal(suite, inside, tmp_path):
    run = (
        "run",
        "--task",
        "fake",
        "--method",
        "steady",
        "--set",
        "steady.what=code",
        "--set",
        "steady.at=3",
    )
    suite(*run)
    (path,) = tmp_path.glob("results/runs/*/1/status.json")
    status = json.loads(path.read_bytes())
    status["failure"] = msgspec.to_builtins(
        Failure(kind="code", message="\x1b]0;pwned\x07\n[bold]x")
    )
    path.write_text(json.dumps(status))
    for command in (run, ("leaderboard", "--task", "fake"), ("show", path.parts[-3])):
        result = inside(*command)
        assert "pwned" in result.stdout + result.stderr
        assert "\x1b" not in result.stdout + result.stderr


UNFAIR = """
CARD = {
    "title": "Unfair",
    "tasks": ["longtail-seg"],
    "names": {"unfair": {"summary": "changes what the protocol fixes"}},
    "params": {"what": {"default": "budget", "choices": ["budget", "data", "test", "backbone"]}},
}


def configure(cfg, facts, what):
    if what == "budget":
        cfg.train_cfg.max_iters = 100
    elif what == "data":
        cfg.train_dataloader.dataset.split = "test"
    elif what == "test":
        cfg.test_dataloader.dataset.limit = 1
    else:
        cfg.model.backbone.base_channels = 64
    return cfg
"""


def test_a_method_cannot_change_what_the_protocol_fixes(tmp_path):
    from suite.define.data import find_data
    from suite.engine.run import resolve_config

    (tmp_path / "unfair.py").write_text(UNFAIR)
    catalog = Catalog.load([tmp_path / "unfair.py"])
    smoke = catalog.protocol(catalog.task("longtail-seg"), "smoke")
    configure = catalog.source("unfair").load().configure
    data = find_data(smoke, None)
    for what, name in {
        "budget": "train_cfg.max_iters",
        "data": "train_dataloader.dataset",
        "test": "test_dataloader",
        "backbone": "model.backbone",
    }.items():
        with pytest.raises(UserError, match=f"changed {name}"):
            resolve_config(smoke.build, data, configure, {"what": what}, 0, fixed=smoke.fixed)
    assert Path(data).exists()
    free = {"extra_budget": True, "fixed": smoke.fixed}
    resolve_config(smoke.build, data, configure, {"what": "budget"}, 0, **free)


def test_a_hook_row_of_a_tasks_own_name_is_refused_when_it_is_made(tmp_path):
    catalog = Catalog.load()
    (item,) = plan_of(catalog, tmp_path, "steady", settings=["steady.sleep=0.0"]).items
    carry_out(catalog, tmp_path, item)
    record = item.attempt.record()
    row = MetricRow(metric="score", value=1.0, source="hook")
    item.attempt.write_record(msgspec.structs.replace(record, rows=[row]))
    task = catalog.task("fake")
    with pytest.raises(RecordError, match="two rows for"):
        evaluate_attempt(item.attempt, task, catalog.protocol(task, None), catalog, again=True)


def test_durations():
    shown = [duration(seconds) for seconds in (0.4, 59, 185, 7800, float("inf"))]
    assert shown == ["0 s", "59 s", "3 min 05 s", "2 h 10 min", "unknown"]
