"""What a run's log says: lines at a sensible distance, means since the line before, each warning once."""

import logging
import re
import warnings
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from suite.engine.hooks import MonitorHook
from suite.engine.training_log import LogHook, warnings_once

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  step (\d+)/(\d+)  (.*)  (\S+) s/step$")


class Runner(SimpleNamespace):
    def __init__(self, total):
        wrapper = SimpleNamespace(get_lr=lambda: {"lr": [0.1 / (1 + self.iter)]})
        hub = SimpleNamespace(update_info=lambda *_: None)
        super().__init__(iter=0, max_iters=total, optim_wrapper=wrapper, message_hub=hub)


def trained(total, monitor=None, begin=0, end=None):
    """Hooks of a training whose loss is the number of the step."""
    runner, monitor = Runner(total), monitor or MonitorHook()
    log = LogHook(monitor)
    runner.iter = begin
    log.before_train(runner)
    for runner.iter in range(begin, end or total):
        outputs = {"other": torch.tensor(1.0), "loss": torch.tensor(float(runner.iter + 1))}
        for hook in (monitor, log):
            hook.after_train_iter(runner, runner.iter, None, outputs)
    return monitor


def lines(capsys):
    found = [LINE.match(line) for line in capsys.readouterr().out.splitlines()]
    return [(int(one[1]), int(one[2]), one[3]) for one in found if one]


@pytest.mark.parametrize("total", [1, 7, 20, 50, 51, 100, 199, 400, 2500, 10_007])
def test_a_training_has_about_fifty_lines_the_first_and_the_last_step_among_them(total, capsys):
    trained(total)
    found = lines(capsys)
    steps = [step for step, *_ in found]
    assert steps[0] == 1 and steps[-1] == total
    assert len(steps) == len(set(steps)) and {of for _, of, _ in found} == {total}
    assert min(total, 26) <= len(steps) <= 52
    distances = {after - before for before, after in pairwise(steps[1:-1])}
    assert len(distances) <= 1


def test_a_training_of_no_iteration_has_no_line(capsys):
    trained(0)
    assert capsys.readouterr().out == ""


def test_losses_are_means_since_the_line_before_and_the_rate_is_todays(capsys):
    monitor = trained(400)
    found = {step: text for step, _, text in lines(capsys)}
    assert found[1] == "loss 1  other 1  lr 0.1"
    # 8 steps a line, of which the first was said
    assert found[16] == "loss 12.5  other 1  lr 0.00625"
    assert found[400] == "loss 396.5  other 1  lr 0.00025"
    # what is logged takes nothing from the curves
    assert monitor.curves["loss"][:2] == [(2, 1.5), (4, 3.5)]


def test_a_sitting_that_goes_on_says_where_and_logs_its_first_step(capsys):
    monitor = trained(400, end=203)
    capsys.readouterr()
    trained(400, monitor, begin=203)
    out = capsys.readouterr().out
    assert "goes on after step 203\n" in out
    steps = [int(found[1]) for line in out.splitlines() if (found := LINE.match(line))]
    assert steps[:3] == [204, 208, 216] and steps[-1] == 400


def test_a_loss_that_is_not_finite_is_said(capsys):
    monitor = MonitorHook()
    monitor.curves = {"loss": [(8, None)], "lr": [(8, 0.1)]}
    runner = Runner(400)
    log = LogHook(monitor)
    log.before_train(runner)
    runner.iter = 7
    log.after_train_iter(runner, 7, None, {})
    assert lines(capsys) == [(8, 400, "loss not finite  lr 0.1")]


def test_every_warning_is_said_once_a_run(capsys):
    def run():
        with warnings_once():
            for number in range(30):
                warnings.warn("loud", stacklevel=1)
                warnings.warn(f"changing {number}", stacklevel=1)
                logging.getLogger("method").warning("logged %s", "twice")
                logging.getLogger("method").info("not this")

    before = warnings.showwarning, list(logging.root.handlers)
    for _ in range(2):  # a worker carries out many runs
        run()
        out = capsys.readouterr().out
        assert out.count("warning: loud (UserWarning, test_training_log.py:") == 1
        assert out.count("warning: logged twice (method, test_training_log.py:") == 1
        assert out.count("warning: changing") == 10
        assert out.count("further ones from there are left out") == 1
        assert "not this" not in out
    assert before == (warnings.showwarning, list(logging.root.handlers))


def test_an_error_leaves_nothing_behind():
    before = warnings.showwarning, list(logging.root.handlers)
    with pytest.raises(KeyError), warnings_once():
        raise KeyError
    assert before == (warnings.showwarning, list(logging.root.handlers))


def test_a_log_that_cannot_be_written_is_no_error(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.print", full)
    trained(3)
