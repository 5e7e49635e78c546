"""One row by itself gets what the whole stage gives it."""

import json
from pathlib import Path

import pytest
from support.near_pii import generated
from support.textrows import chat, dataset, ledger_lines

from steps.contracts.context import StageContext
from steps.contracts.records import Row
from steps.scrub.config import ScrubConfig
from steps.scrub.recheck import recheck
from steps.scrub.scrub import scrub

MAIL = "jane.doe@example.org"


@pytest.fixture
def rows() -> list[Row]:
    texts = [f"Write to {MAIL} or 212-555-0142", "Nothing here", "Ann of Acme", *generated(80, seed=4)]
    return [chat(text, "Yes.", locator=f"l{number}") for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    "mode", ["pseudonymise", *(pytest.param(m, marks=pytest.mark.slow) for m in ("surrogate", "redact", "mask"))]
)
def test_a_row_becomes_what_the_stage_makes_of_it(rows: list[Row], mode: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Acme\n")
    config = ScrubConfig.model_validate({"demo_key": True, "mode": mode, "deny_files": {"ORGANIZATION": "names.txt"}})
    done = scrub(dataset(rows, tmp_path / "in"), config, StageContext(tmp_path / "out", tmp_path))
    lines = {line["record_id"]: json.loads(line["evidence"]) for line in ledger_lines(done)}
    replaced = 0
    for row, new in zip(rows, done.rows.iter_rows(), strict=True):
        found = recheck(row, config, StageContext(tmp_path, tmp_path))
        assert found.row["content_id"] == new["content_id"] and found.row["messages"] == new["messages"]
        evidence = lines.get(row["record_id"], {"entities": {}, "spans": []})
        assert found.replaced == evidence["entities"] and [list(s) for s in found.spans] == evidence["spans"]
        assert not found.unsearched
        replaced += len(found.spans)
    assert replaced > 40 and done.report.changed > 20


def test_surrogates_that_stood_in_the_row_stay_and_new_values_go(tmp_path: Path) -> None:
    config, ctx = ScrubConfig(demo_key=True, mode="surrogate"), StageContext(tmp_path)
    before = recheck(chat(f"Write to {MAIL}", "Yes."), config, ctx).row
    surrogate = before["messages"][0]["content"].removeprefix("Write to ")
    edited = chat(f"Write to {surrogate} and {MAIL}", "Yes.")
    assert recheck(edited, config, ctx, before).replaced == {"EMAIL_ADDRESS": 1}
    assert surrogate in recheck(edited, config, ctx, before).row["messages"][0]["content"]
    assert recheck(edited, config, ctx).replaced == {"EMAIL_ADDRESS": 2}
