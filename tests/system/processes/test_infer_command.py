"""A method that infers, on the command line."""

import json

from inferring import plugin


def test_a_task_that_keeps_no_scores_refuses_before_training(fake, suite, tmp_path):
    plugin(tmp_path, task="fake")
    run = ("run", "--task", "fake", "--plugin", "adapting.py", "--method", "adapting")
    done = suite(*run)
    assert done.returncode == 1
    assert "task 'fake' keeps no scores to adapt" in done.stderr
    shown = suite("leaderboard", "--task", "fake", "--plugin", "adapting.py", "--format", "json")
    (row,) = [row for row in json.loads(shown.stdout)["rows"] if row["method"] == "adapting"]
    assert row["state"] == "failed"
