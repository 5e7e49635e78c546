"""The sweeps that come with the project: right, with the trials that their heads promise."""

from pathlib import Path

import pytest

from ops.sweeps.sweep import planned, prepared
from steps.contracts.errors import ConfigError

ROOT = Path(__file__).parents[3]
TRIALS = {"smoke_rate": 3, "quickstart_rows": 4, "quickstart_stages": 6, "quickstart_search": 8, "learning_curve": 3}


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))


def test_every_sweep_is_known_here():
    assert {f.stem for f in (ROOT / "configs" / "sweeps").glob("*.yaml")} == TRIALS.keys()


@pytest.mark.parametrize("name", TRIALS)
def test_a_shipped_sweep_can_begin(name):
    ready = prepared(ROOT, ROOT / "configs" / "sweeps" / f"{name}.yaml", [])
    assert len(planned(ready)) == TRIALS[name]
    assert "pipeline=train" in ready.common
    assert not ready.folder.exists()


def test_another_search_is_another_sweep_and_a_wrong_key_is_told_before_anything_runs():
    file = ROOT / "configs" / "sweeps" / "smoke_rate.yaml"
    one, other = prepared(ROOT, file, []), prepared(ROOT, file, ["overrides={train.seed: 7}"])
    assert one.folder != other.folder
    with pytest.raises(ConfigError, match="learning_rat"):
        prepared(ROOT, file, ["search.parameters={train.learning_rat: {values: [1]}}"])
    with pytest.raises(ConfigError, match=r"split.validation is 0"):
        prepared(ROOT, file, ["overrides={split.validation: 0}"])


def test_what_a_trial_runs_is_checked_like_any_run_and_ends_with_the_model():
    from ops.preflight import checked

    ready = prepared(ROOT, ROOT / "configs" / "sweeps" / "smoke_rate.yaml", [])
    config, _ = checked(ROOT, ROOT / "configs" / "runs" / "smoke.yaml", ready.common)
    assert config.steps[-2:] == ("base_step", "train_step")
    assert config.subjects == ()
