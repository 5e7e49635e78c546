"""Which values trials get, and that a sweep which is interrupted goes on as if it hadn't been."""

import csv
import io
import json
import math
import random

import numpy as np
import pytest

from ops.run import tags_of
from ops.sweeps.board import board_of
from ops.sweeps.config import SweepConfig
from ops.sweeps.leaderboard import files
from ops.sweeps.page import render_board
from ops.sweeps.results import Log, Result, failed
from ops.sweeps.statistics import Rows, difference, loss_of, on_common, student
from ops.sweeps.sweep import Sweep, _last_error, board_so_far, planned, run_sweep
from ops.sweeps.tracked import Tracked
from ops.sweeps.trials import proposals
from pipelines.config import RunConfig
from steps.contracts.errors import ConfigError
from steps.train.config import TrainConfig

CONFIG = RunConfig.model_validate(
    {
        "name": "own", "pipeline": "train", "skip": ["scrub"], "base": {"model": "m"},
        "ingest": {"sources": [{"name": "a", "path": "a"}, {"name": "b", "path": "b"}]},
    }
)  # fmt: skip
RATE = {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "train.seed": {"values": [1, 2]}}


def sweep(search, **more):
    return SweepConfig.model_validate({"name": "s", "config": "c.yaml", "search": search, **more})


def trials(search):
    propose, found = proposals(sweep(search), CONFIG, ["a", "b"]), []
    while (trial := propose([1.0] * len(found))) is not None:
        found.append(trial)
    return found


def test_a_grid_is_every_combination():
    found = trials(
        {"kind": "grid", "parameters": {"train.seed": {"values": [1, 2]}, "train.weights.r": {"values": [8, 16]}}}
    )
    assert [t.overrides for t in found] == [
        ["train.seed=1", "train.weights.r=8"], ["train.seed=1", "train.weights.r=16"],
        ["train.seed=2", "train.weights.r=8"], ["train.seed=2", "train.weights.r=16"],
    ]  # fmt: skip
    assert found[1].label == "seed 1, r 16"
    assert len({t.key for t in found}) == 4


def test_random_values_are_within_bounds_and_more_trials_add_to_the_first_ones():
    search = {
        "kind": "random",
        "trials": 40,
        "seed": 3,
        "parameters": {**RATE, "train.max_steps": {"low": 2, "high": 4, "whole": True}},
    }
    found = trials(search)
    rates = [t.values["train.learning_rate"] for t in found]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 10 < sum(rate < 1e-3 for rate in rates) < 30  # half of a logarithmic span lies below its middle
    assert {t.values["train.max_steps"] for t in found} == {2, 3, 4}
    assert {t.values["train.seed"] for t in found} == {1, 2}
    assert trials({**search, "trials": 5}) == found[:5]
    assert trials({**search, "seed": 4}) != found


def test_a_learning_curve_takes_parts_of_every_source_and_ends_with_all_rows():
    found = trials({"kind": "learning_curve", "shares": [0.25, 1.0]})
    assert [(t.label, dict(t.values)) for t in found] == [
        ("25 % of the rows", {"train.rows.mixture": {"a": 0.25, "b": 0.25}}), ("100 % of the rows", {}),
    ]  # fmt: skip
    assert TrainConfig.model_validate({"rows": {"mixture": {"a": 0.25, "b": 0.25}}}).rows.mixture
    with pytest.raises(ValueError, match="shares rise, and end with 1"):
        sweep({"kind": "learning_curve", "shares": [0.5, 0.25, 1]})


def test_an_ablation_leaves_out_one_stage_at_a_time_of_those_that_run():
    found = trials({"kind": "ablation"})
    assert [t.label for t in found] == [
        "all stages",
        *(f"without {s}" for s in ("dedup", "screen", "judge", "leakcheck")),
    ]
    assert found[1].values == {"skip": ["scrub", "dedup"]}
    with pytest.raises(ConfigError, match="can't be left out: scrub"):
        trials({"kind": "ablation", "stages": ["scrub"]})


def test_optuna_proposes_the_same_again_and_learns_from_losses():
    pytest.importorskip("optuna")
    search = {"kind": "optuna", "trials": 30, "seed": 1, "parameters": RATE}

    def searched():
        propose, losses, found = proposals(sweep(search), CONFIG, []), [], []
        while (trial := propose(losses)) is not None:
            found.append(trial)
            rate = trial.values["train.learning_rate"]
            losses.append(None if len(losses) == 2 else (math.log10(rate) + 3) ** 2)
        return found

    found = searched()
    assert len(found) == 30
    assert found == searched()
    far = [abs(math.log10(t.values["train.learning_rate"]) + 3) for t in found]
    assert np.mean(far[20:]) < np.mean(far[:10])


def rows(seed, shift=0.0, n=200):
    draw = np.random.default_rng(seed)
    tokens = draw.integers(5, 60, n)
    losses = (2.0 + draw.normal(0, 0.5, n)) * tokens
    noise = np.random.default_rng(seed + 99).normal(0, 0.02, n) * tokens
    return Rows.of(list(zip(losses + noise * bool(shift) + shift * tokens, tokens, strict=True)), "same")


def test_intervals_are_those_of_resampled_rows():
    """The judge: the bootstrap over rows, which knows nothing of the formula."""
    held, other = rows(0), rows(0, 0.01)
    draw = np.random.default_rng(5)
    for found, sums in ((loss_of(held), held.losses), (difference(other, held, 1), other.losses - held.losses)):
        picks = draw.integers(0, 200, (4000, 200))
        means = sums[picks].sum(1) / held.tokens[picks].sum(1)
        low, high = np.quantile(means, [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
        assert found.n == 200


def test_intervals_of_several_comparisons_are_wider_and_other_rows_are_not_compared():
    held, other = rows(0), rows(0, 0.01)
    one, many = difference(other, held, 1), difference(other, held, 20)
    assert one.value == many.value
    # Student's quantiles for 199 degrees of freedom at 0.975 and at 1 - 0.05 / 40.
    assert (many.high - many.low) / (one.high - one.low) == pytest.approx(3.06231 / 1.97196, abs=1e-4)
    assert difference(Rows(other.losses, other.tokens, "others"), held, 1) is None


@pytest.mark.parametrize(
    ("share", "freedom", "table"),
    [(0.975, 4, 2.7764), (0.995, 4, 4.6041), (0.975, 9, 2.2622), (0.995, 19, 2.8609), (0.975, 120, 1.9799)],
)
def test_quantiles_are_those_of_the_tables(share, freedom, table):
    assert student(share, freedom) == pytest.approx(table, rel=3e-3)


def test_of_fewer_than_five_rows_no_interval_is_told_and_the_files_stay_json():
    config = sweep({"kind": "grid", "parameters": {"train.seed": {"values": [1, 2]}}})
    propose = proposals(config, CONFIG, [])
    found = [on_rows(propose([1.0] * n), shift, range(4)) for n, shift in ((0, 0.0), (1, 0.5))]
    board = board_of(config, found)
    assert [(e.rank, e.standing) for e in board.entries] == [(1, "reference"), (2, "not told apart")]
    assert "Infinity" not in files(board)["leaderboard.json"]
    assert "inf" not in files(board)["leaderboard.csv"]
    assert "too few rows" in (page := render_board(board))
    assert "inf to" not in page


def test_of_equal_trials_none_is_called_better_in_most_sweeps():
    """Eight trials that differ by chance alone: what a single interval each would say, and what ours says."""
    draw, wrong, naive = random.Random(1), 0, 0
    for _ in range(150):
        n, tokens = 80, [20] * 80
        base = [draw.gauss(40, 8) for _ in range(n)]
        made = [Rows.of([(b + draw.gauss(0, 4), t) for b, t in zip(base, tokens, strict=True)], "d") for _ in range(8)]
        changes = [difference(m, made[0], 7) for m in made[1:]]
        wrong += any(c.above or c.below for c in changes)
        naive += any(c.above or c.below for c in (difference(m, made[0], 1) for m in made[1:]))
    assert wrong / 150 < 0.09
    assert naive / 150 > 0.15


def result(trial, shift):
    held = rows(0, shift)
    return Result(
        key=trial.key, label=trial.label, values=dict(trial.values), run="r", loss=held.mean, rows="same", trained=10,
        losses=tuple(zip(held.losses.tolist(), held.tokens.tolist(), strict=True)), steps=3,
    )  # fmt: skip


@pytest.fixture
def ready(tmp_path):
    config = sweep({"kind": "grid", "parameters": {"train.seed": {"values": [1, 2, 3, 4]}}})
    return Sweep(tmp_path, config, proposals(config, CONFIG, []), ("pipeline=train",), tmp_path / "state")


def trying(calls, stop_at=None):
    def run(trial, start):
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        calls.append(start.overrides)
        seed = trial.values["train.seed"]
        return failed(trial, "<b>out of luck</b>") if seed == 3 else result(trial, {1: 0.0, 2: 0.5, 4: 0.003}[seed])

    return run


def test_a_sweep_that_is_interrupted_goes_on_after_what_is_done(ready):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        run_sweep(ready, trying(calls, stop_at=2))
    with ready.log.path.open("a") as file:
        file.write('{"key": "cut o')  # killed while it wrote
    assert [e.result.label for e in board_so_far(ready).entries] == ["seed 1", "seed 2"]
    board = run_sweep(ready, trying(calls))
    assert [c[-1] for c in calls] == ["train.seed=1", "train.seed=2", "train.seed=3", "train.seed=4"]
    assert calls[0] == ["pipeline=train", "train.seed=1"]
    assert [(e.rank, e.result.label, e.standing) for e in board.entries] == [
        (1, "seed 1", "reference"), (2, "seed 4", "not told apart"), (3, "seed 2", "worse"), (None, "seed 3", "failed"),
    ]  # fmt: skip
    assert "1 of 4 trials failed" in board.notes[0]
    run_sweep(ready, trying(calls), again=True)
    assert calls[4:] == [["pipeline=train", "train.seed=3"]]
    assert len(planned(ready)) == 4
    assert len(Log(ready.log.path).read()) == 4


def test_the_page_shows_every_trial_and_what_a_failed_one_said_as_text(ready):
    page = render_board(run_sweep(ready, trying([])))
    assert (page.count("<tr>"), page.count('<tr class="best">')) == (1 + 3, 1)
    # Two are held against the best one, by their intervals.
    assert (page.count('<circle class="dot bad"'), page.count('<circle class="dot unclear"')) == (1, 1)
    assert "&lt;b&gt;out of luck&lt;/b&gt;" in page
    assert "<script" not in page
    assert "<svg" in page


def test_a_curve_says_what_more_rows_would_do():
    config = sweep({"kind": "learning_curve", "shares": [0.5, 1.0]})
    propose = proposals(config, CONFIG, ["a"])
    found = [propose([1.0] * n) for n in (0, 1)]
    helped = board_of(config, [result(found[0], 0.5), result(found[1], 0.0)])
    assert helped.verdict == (
        "from 10 to 10 rows the loss fell by 0.4988 nats per token (0.4958 to 0.5017): more rows like these would"
        " likely help"
    )
    assert [e.standing for e in helped.entries] == ["worse", "reference"]
    same = board_of(config, [result(found[0], 1e-5), result(found[1], 0.0)])
    assert same.verdict == "from 10 to 10 rows no change of the loss can be told: more rows like these may not help"
    harmed = board_of(config, [result(found[0], 0.0), result(found[1], 0.5)])
    assert harmed.verdict == (
        "from 10 to 10 rows the loss rose by 0.4988 nats per token (0.4958 to 0.5017): more rows like these didn't help"
    )
    assert not any("seen" in note for note in harmed.notes)
    short = result(found[1], 0.5).model_copy(update={"epochs": 0.496, "trained": 1000})
    assert board_of(config, [result(found[0], 0.0), short]).notes[-1] == (
        "1 of 2 trials ended before they had seen all their rows (100 % of the rows: 49 % of 1,000 in 3 steps): a"
        " higher train.max_steps, or train.num_train_epochs, among the sweep's overrides lets all rows count"
    )


def on_rows(trial, shift, ids):
    """A result on those of 200 rows, each known by its number."""
    held = result(trial, shift)
    losses = tuple(held.losses[i] for i in ids)
    mean = sum(nats for nats, _ in losses) / sum(n for _, n in losses)
    known = tuple(f"{i:x}" for i in ids)
    return held.model_copy(update={"losses": losses, "ids": known, "rows": str(ids), "loss": mean})


def test_trials_with_other_validation_rows_are_compared_on_those_that_all_have():
    config = sweep({"kind": "ablation", "stages": ["dedup", "screen"]})
    propose = proposals(config, CONFIG, [])
    whole, dedup, screen = (propose([1.0] * n) for n in (0, 1, 2))
    # What is left out of the second one are the rows with the highest losses: its own mean is the lowest.
    nats = result(whole, 0.0).losses
    easy = sorted(range(200), key=lambda i: nats[i][0] / nats[i][1])[:150]
    found = [on_rows(whole, 0.0, range(200)), on_rows(dedup, 0.05, easy[::-1]), on_rows(screen, -0.05, range(190))]
    assert found[1].loss < min(found[0].loss, found[2].loss)
    board = board_of(config, found)
    assert [(e.rank, e.standing) for e in board.entries] == [(2, "reference"), (3, "worse"), (1, "better")]
    common = [i for i in easy if i < 190]
    assert {e.loss.n for e in board.entries} == {len(common)}
    assert board.entries[2].change.value == pytest.approx(-0.05, abs=0.01)
    assert board.verdict == "the validation loss is higher without dedup, lower without screen"
    assert f"compared are the {len(common)} that all have, of 150 to 200" in board.notes[0]
    # Where it isn't known which rows they are, nothing is said, and those with rows of their own have no rank.
    unknown = [r.model_copy(update={"ids": ()}) for r in found]
    board = board_of(config, unknown)
    assert [(e.rank, e.standing) for e in board.entries] == [
        (1, "reference"), (None, "other rows"), (None, "other rows"),
    ]  # fmt: skip


def test_rows_of_the_same_id_are_paired_in_their_order():
    one = Rows.of([(1, 1), (2, 1), (3, 1)], "x", ["a", "b", "a"])
    other = Rows.of([(30, 1), (10, 1)], "y", ["a", "a"])
    first, second = on_common([one, other])
    assert (first.losses.tolist(), second.losses.tolist()) == ([1, 3], [30, 10])
    assert first.digest == second.digest
    assert on_common([one, Rows.of([(1, 1)], "z", ["b"])]) is None


def test_the_last_error_of_a_run_is_found_behind_what_it_warned_of():
    assert _last_error("note: x\nerror: train: no\n  way out: this\n") == "error: train: no\n  way out: this"
    assert _last_error("") == ""


class Remembering:
    """A tracker that remembers what it is told, and fails where it is told to."""

    def __init__(self, fails=()):
        self.told, self.fails = [], fails

    def _tell(self, what, value):
        self.told.append((what, value))
        if what in self.fails:
            raise OSError("https://user:secret@there is down")

    def begin(self, settings):
        self._tell("begin", settings)

    def trial_begins(self, number):
        self._tell("trial", number)
        return {"trial": str(number)}

    def record(self, board):
        self._tell("record", board)

    def end(self, *, whole):
        self._tell("end", whole)


def test_the_tracker_is_told_of_the_search_each_trial_and_the_board(ready):
    tracker, tags = Remembering(), []
    run = trying([])

    def tagged(trial, start):
        tags.append(start.tags)
        return run(trial, start)

    run_sweep(ready, tagged, tracked=Tracked(tracker, lambda board: {"board.html": board.sweep.name}))
    assert [what for what, _ in tracker.told] == ["begin", *["trial", "record"] * 4, "record", "end"]
    assert tags == [{"trial": str(n)} for n in (1, 2, 3, 4)]
    assert tracker.told[0][1] == {
        "sweep.config": "c.yaml", "sweep.strategy": "grid", "sweep.metric": "validation_loss",
        "sweep.direction": "minimize", "search.train.seed": {"values": [1, 2, 3, 4]},
    }  # fmt: skip
    board = tracker.told[-2][1]
    assert board.metrics == {
        "trials_done": 3, "trials_failed": 1, "cpu_seconds": 0, "best_trial": 1, "validation_loss": rows(0).mean,
    }  # fmt: skip
    assert board.tags == {
        "best_trial": "1", "best_run": "r", "best": "seed 1", "best.train.seed": "1",
        "verdict": "lowest validation loss: 1.9648 nats per token, with seed 1; 1 of 2 others can't be told apart from"
        " it: the cheapest of these is as good",
    }  # fmt: skip
    assert set(board.files) == {"leaderboard.json", "leaderboard.csv", "board.html"}
    there = list(csv.DictReader(io.StringIO(board.files["leaderboard.csv"])))
    assert [(r["rank"], r["trial"], r["train.seed"], r["standing"]) for r in there] == [
        ("1", "1", "1", "reference"), ("2", "4", "4", "not told apart"), ("3", "2", "2", "worse"),
        ("", "3", "3", "failed"),
    ]  # fmt: skip
    assert there[3]["error"] == "<b>out of luck</b>"
    assert json.loads(board.files["leaderboard.json"])["trials"][0]["key"] == ready.proposal([]).key
    # Nothing is left to run: the board is written again, no trial begins.
    run_sweep(ready, tagged, tracked=Tracked(tracker))
    assert [what for what, _ in tracker.told[11:]] == ["begin", "record", "end"]


def test_a_sweep_that_is_cut_off_tells_so_and_a_tracker_that_fails_ends_none(ready, capfd, monkeypatch):
    monkeypatch.setenv("ASSAY_PROGRESS", "on")
    tracker = Remembering()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(ready, trying([], stop_at=1), tracked=Tracked(tracker))
    assert tracker.told[-1] == ("end", False)
    failing, calls = Remembering(fails=("begin", "trial", "record", "end")), []
    board = run_sweep(ready, trying(calls), tracked=Tracked(failing))
    assert (len(board.entries), len(calls)) == (4, 3)
    said = capfd.readouterr().err
    assert "the tracker can't be written: https://there is down" in said
    assert "secret" not in said


def test_tags_are_said_as_key_and_value():
    assert tags_of(["sweep=a=b", "best.train.seed="]) == {"sweep": "a=b", "best.train.seed": ""}
    for wrong in ("sweep", "=x", "a b=c", "a'=c"):
        with pytest.raises(ConfigError, match="is no tag"):
            tags_of([wrong])
