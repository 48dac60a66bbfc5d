"""A method that infers, on the command line."""

import json

FILE = """
CARD = {{
    "title": "Adapting",
    "tasks": ["{task}"],
    "names": {{"adapting": {{"summary": "adds a number"}}}},
    "params": {{"shift": {{"default": 1.0, "help": "added"}}}},
    "needs": {needs},
}}


def configure(cfg, facts, shift):
    return {{"start": shift, "sleep": 0.0, "at": 0, "what": ""}}


def infer(arrays, class_counts, {signature}):
    return arrays["logits"] + shift{extra}
"""


def plugin(folder, task="longtail-cls", needs="{}", signature="*, shift", extra=""):
    path = folder / "adapting.py"
    path.write_text(FILE.format(task=task, needs=needs, signature=signature, extra=extra))
    return path


def test_a_task_that_keeps_no_scores_refuses_before_training(fake, suite, tmp_path):
    plugin(tmp_path, task="fake")
    run = ("run", "--task", "fake", "--plugin", "adapting.py", "--method", "adapting")
    done = suite(*run)
    assert done.returncode == 1
    assert "task 'fake' keeps no scores to adapt" in done.stderr
    shown = suite("leaderboard", "--task", "fake", "--plugin", "adapting.py", "--format", "json")
    (row,) = [row for row in json.loads(shown.stdout) if row["method"] == "adapting"]
    assert row["state"] == "failed"
