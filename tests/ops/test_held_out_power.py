"""What the held-out rows can show, told before the run: counted from the sources, in a sentence, where it matters."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.training_plan.held_out import HeldOut, held_out_rows, power, worth_knowing
from pipelines.config import RunConfig


def config(**said: Any) -> RunConfig:
    sources = [{"name": "a", "path": "rows.jsonl"}]
    given = {"base": {"model": "toy"}, "registry": {"name": "a"}, "ingest": {"sources": sources}, "skip": ["scrub"]}
    return RunConfig.model_validate({"name": "nowhere", "split": {"validation": 0.1, "test": 0.2}, **given, **said})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    said = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps({'messages': said})}\n" * 275)
    return tmp_path


def test_rows_are_counted_as_they_will_be_asked(root: Path) -> None:
    found = held_out_rows(root, config())
    assert found == HeldOut(55, "of the sources, before anything is filtered", exact=False)
    capped = held_out_rows(root, config(evaluate={"max_rows": 20}))
    assert capped is not None and capped.rows == 20
    assert held_out_rows(root, config(pipeline="curate")) is None
    away = config(ingest={"sources": [{"name": "a", "path": "s3://bucket/x.jsonl"}]})
    assert held_out_rows(root, away) is None, "what isn't here isn't guessed"


def test_the_sentence_says_the_gain_and_what_is_assumed() -> None:
    found = HeldOut(55, "of the dataset", exact=True)
    said = power(found, config())
    assert said == (
        "55 held-out rows of the dataset: in a share of rows a gain under 0.10 can't be seen, where no row gets worse;"
        " where 1 in 20 does, one under 0.19; in a mean of values from 0 to 1 one under 0.11 (changes of a standard"
        " deviation of 0.3). 95 % interval, power 0.8; gate.min_n is 100, so that nothing is promoted"
    )
    assert "(above the 0.4 that the gate wants)" in power(found, config(gate={"min_gain_lower_bound": 0.4}))
    assert "is told after the run" in power(found, config(gate={"metric": "loss"}))


def test_many_rows_need_no_word() -> None:
    assert not worth_knowing(HeldOut(1000, "", exact=True), config())
    assert worth_knowing(HeldOut(99, "", exact=True), config(gate={"min_n": 50}))
    assert worth_knowing(HeldOut(1000, "", exact=True), config(gate={"min_n": 2000}))
