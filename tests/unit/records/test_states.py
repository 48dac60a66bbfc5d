"""The words for where a run stands are one list; a layer takes some of them, and says what they mean."""

from typing import get_args

import pytest

from suite.records import states
from suite.records.files import Status
from suite.runs.job import Report

LAYERS = (
    "AttemptState",
    "ReportState",
    "ResultState",
    "Todo",
    "RunState",
    "StoredState",
    "RowState",
)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_says_no_word_of_its_own(layer):
    words = get_args(getattr(states, layer))
    assert len(set(words)) == len(words) > 0
    assert set(words) <= states.STATES.keys()
    assert layer in states.__doc__


def test_every_word_is_said_somewhere():
    said = {word for layer in LAYERS for word in get_args(getattr(states, layer))}
    assert said == states.STATES.keys()


def test_what_commands_print_is_complete_and_names_nothing_else():
    assert tuple(states.TODOS) == get_args(states.Todo)
    assert tuple(states.RUN_STATES) == get_args(states.RunState)
    assert get_args(states.StoredState) == states.STORED_STATES


def test_what_a_worker_writes_a_report_can_say():
    # and a command's result what any report says
    assert set(get_args(states.AttemptState)) < set(get_args(states.ReportState))
    assert set(get_args(states.ReportState)) < set(get_args(states.ResultState))
    assert Status.__annotations__["state"] is states.AttemptState
    assert Report.__annotations__["state"] in ("ReportState", states.ReportState)
