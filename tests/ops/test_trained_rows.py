"""Which rows phases would be given, told from dataset versions and from the first rows of sources."""

from pathlib import Path

import pytest
from support.preferences import labelled, pair
from support.tiny_model import tiny_dataset, tiny_row

from ops.trained_rows import Supply, refused, starved, supplied
from steps.train.config import TrainConfig

SOURCES = [Supply("chats", (({"kind": "conversation", "source": "chats", "label": None}, 3),))]


def phase(kind: str = "sft", **changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"objective": {"kind": kind}, **changes})


def test_a_version_is_told_by_source_split_kind_and_label(tmp_path: Path) -> None:
    rows = [*(tiny_row(i) for i in range(3)), pair(3), labelled(4, True), labelled(5, False), labelled(6, False)]
    found = {(s.source, s.split): s for s in supplied(tiny_dataset(tmp_path, rows, validation=2))}
    assert {place: dict(s.kinds) for place, s in found.items()} == {
        ("tiny", "train"): {"conversation": 3},
        ("pairs", "train"): {"preference": 1},
        ("labels", "train"): {"unpaired_preference": 1},
        ("labels", "validation"): {"unpaired_preference": 2},
    }
    supplies = list(found.values())
    assert [starved(phase(kind), supplies) for kind in ("sft", "dpo", "kto", "orpo")] == [""] * 4
    # Its unwanted answers are in the validation split alone.
    assert starved(phase(rows={"split": "validation"}), supplies) == (
        "sft can't use a single row of the version: 2 unpaired_preferences (objective.kind: kto takes them)"
    )
    assert starved(phase("continued_pretraining"), supplies).startswith("continued_pretraining can't use a single row")
    assert starved(phase(rows={"sources": ["pairs"], "kinds": ["document"]}), supplies).startswith("no row of the")


def test_where_nobody_looked_nothing_is_told() -> None:
    hub = Supply("hub", ())
    assert starved(phase("dpo"), SOURCES).startswith("dpo can't use a single row of the sources: of the first rows 3")
    assert starved(phase("dpo"), [*SOURCES, hub]) == ""
    assert starved(phase("dpo", rows={"sources": ["chats"]}), [*SOURCES, hub])
    assert starved(phase("dpo"), []) == ""


@pytest.mark.parametrize(
    ("kinds", "told"),
    [(["dpo"], "dpo doesn't take them (objective.kind: sft takes them)"), (["dpo", "sft"], ""),
     (["dpo", "kto"], "dpo doesn't take them; kto doesn't take them (objective.kind: sft takes them)")],
    ids=str,
)  # fmt: skip
def test_rows_are_refused_when_no_phase_takes_them(kinds: list[str], told: str) -> None:
    assert refused([phase(kind) for kind in kinds], SOURCES[0], "conversation") == told
