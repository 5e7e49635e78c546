"""What the course of the losses says, on logs written by hand."""

import threading
import time

import pytest

from steps.train.watching.course import (
    RULES,
    best_step,
    divergence,
    kept_step,
    stops_early,
    verdict,
    without_improvement,
)
from steps.train.watching.journal import Journal, read_journal
from steps.train.watching.settings import WatchSettings
from steps.train.watching.stall import StallWatch

PATIENT = WatchSettings(early_stopping_patience=2, load_best_model_at_end=True)


def log(key, *values):
    return [{"step": 10 * i, key: v} for i, v in enumerate(values, 1)]


def test_the_best_step_is_the_first_of_the_lowest_and_what_was_before_training_does_not_count():
    course = [{"step": 0, "eval_loss": 0.1}, *log("eval_loss", 3.0, 2.0, 2.0, 2.5)]
    assert best_step(course, PATIENT) == kept_step(course, PATIENT) == 20
    assert kept_step(course, WatchSettings()) is None
    assert without_improvement(course, PATIENT) == 2
    assert stops_early(course, PATIENT)
    assert not stops_early(course[:-1], PATIENT)
    assert not stops_early(course, WatchSettings())


def test_with_a_threshold_a_loss_must_be_lower_by_it():
    course = log("eval_loss", 3.0, 2.95, 2.9, 2.8)
    assert best_step(course, WatchSettings(early_stopping_threshold=0.15)) == 40
    assert best_step(course[:3], WatchSettings(early_stopping_threshold=0.15)) == 10
    assert best_step([], PATIENT) is None


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        ((2.0, 1.0, 3.1, 3.2, 3.3), True),
        ((2.0, 1.0, 3.1, 3.0, 3.3), False),  # one of the three isn't above twice the 2 and thrice the 1
        ((2.0, 1.0, 9.0, 1.1, 9.0, 9.0), False),  # a jump that comes back
        ((9.0, 9.1, 9.2), False),  # three points with nothing before them
        ((0.1, 1.9, 2.0, 2.05), False),  # thrice the lowest, but not 2 above it
        ((0.1, 2.2, 2.3, 2.4), True),
        ((0.5, -0.1, 9.0, 9.0, 9.0), False),  # no loss of tokens, of which the rule speaks
    ],
)
def test_a_loss_goes_away_when_three_points_are_far_above_the_lowest(losses, found):
    said = divergence(log("loss", *losses), WatchSettings())
    assert bool(said) == found
    assert divergence(log("loss", *losses), WatchSettings(stop_at_divergence=False)) == ""


def test_what_went_away_is_told_with_its_steps():
    assert divergence(log("loss", 2.0, 1.0, 3.1, 3.2, 3.3), WatchSettings()) == (
        "the loss went away: 3.1 at step 30, 3.2 at step 40, 3.3 at step 50; the lowest was 1 at step 20"
    )


@pytest.mark.parametrize(
    ("validation", "training", "fit"),
    [
        ((3.0, 2.0), (3.0, 2.0), "not judged"),
        ((3.0, 2.0, 2.2, 2.6), (3.0, 2.0, 1.0, 0.5), "overfitted"),
        ((3.0, 2.0, 2.2, 2.6), (3.0, 2.0, 2.4, 2.8), "got worse"),
        ((4.0, 3.0, 2.5, 2.2), (4.0, 3.0, 2.5, 2.2), "still learning"),
        ((4.0, 2.0, 1.99, 1.98), (4.0, 2.0, 1.9, 1.8), "settled"),
        ((4.0, 2.0, 1.99, 2.02), (4.0, 2.0, 1.9, 1.8), "settled"),
    ],
)
def test_the_verdict_names_its_rule(validation, training, fit):
    found = verdict([*log("loss", *training), *log("eval_loss", *validation)])
    assert (found.fit, found.rule) == (fit, RULES[fit])
    if fit != "not judged":
        numbers = dict(found.numbers)
        assert numbers["lowest validation loss"] == min(validation)
        assert numbers["last validation loss"] == validation[-1]


def test_a_reader_passes_over_what_is_not_a_whole_line_yet(tmp_path):
    journal = Journal(tmp_path / "a" / "train.jsonl")
    journal.add("metrics", step=2, values={"loss": 1.0})
    with journal.path.open("ab") as file:
        file.write(b'not json\n[1]\n{"kind": "metrics", "step": 3, "val')
    watched = read_journal(journal.path)
    assert watched.metrics == {2: {"loss": 1.0}}
    with journal.path.open("ab") as file:
        file.write(b'ues": {"loss": 0.5}}\n')
    assert read_journal(journal.path).curve("loss") == [(2, 1.0), (3, 0.5)]
    assert oct(journal.path.stat().st_mode)[-3:] == "600"


def test_a_stall_is_told_once_with_the_place_where_it_hangs_and_a_slow_step_is_none():
    told, gate = [], threading.Event()

    def waiting_for_data():
        deadline = time.monotonic() + 20
        while not told and time.monotonic() < deadline:
            gate.wait(0.02)

    with StallWatch(told.append, seconds=0.2) as watch:
        waiting_for_data()
        gate.wait(0.3)
        assert len(told) == 1
        assert watch.limit == 0.2
        watch.beat()
        assert watch.limit > 2
    assert told[0].startswith("no step has ended for 0 s: it is in ")
    assert "waiting_for_data" in told[0]
