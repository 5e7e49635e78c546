"""Every slot is accounted for exactly as its policy says, whatever happens; see `support.simulated`."""

import pytest
from support.simulated import Simulation


@pytest.fixture
def state(tmp_path, monkeypatch):
    folder = tmp_path / "state" / "schedules"
    folder.mkdir(parents=True)
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return folder


def test_some_weeks_of_kills_sleeps_overlaps_edits_and_pauses(state):
    outcomes, kills = Simulation(seed=1, state=state, days=12).run()
    assert outcomes.total() >= 12 and kills


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
def test_half_a_year_with_both_changes_of_the_clock(state, seed):
    outcomes, kills = Simulation(seed=seed, state=state).run()
    assert outcomes.total() >= 200 and kills > 10
    assert {"ran", "missed", "paused"} <= outcomes.keys()
