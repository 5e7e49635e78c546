"""Which rows phases would be given, told from dataset versions and from the first rows of sources."""

from pathlib import Path

import pytest
from support.preferences import labelled, pair
from support.tiny_model import tiny_dataset, tiny_row

from ops.trained_rows import Supply, after_making, becoming, refused, starved, supplied
from pipelines.config import RunConfig
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


def test_what_a_model_makes_of_rows_is_there_to_train_on() -> None:
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    asks: dict[str, object] = {
        "name": "made", "ingest": {"sources": [{"name": "docs", "path": "docs"}]}, "skip": ["scrub"],
        "base": {"model": "b"}, "registry": {"name": "r"}, "synthesize": {"endpoint": endpoint},
        "prefer": {"model": {"endpoint": endpoint}, "grader": {"name": "contains"}},
    }  # fmt: skip
    made = RunConfig.model_validate(asks)
    assert becoming(made, "document") == ("conversation", "preference")
    assert becoming(made, "preference") == ("preference",)
    kept = RunConfig.model_validate(
        {**asks, "prefer": None, "synthesize": {"endpoint": endpoint, "keep_documents": True}}
    )
    assert becoming(kept, "document") == ("conversation", "document")
    documents = Supply("docs", (({"kind": "document", "source": "docs", "label": None}, 3),))
    there = after_making(made, documents)
    assert starved(phase("dpo"), [there]) == "" == starved(phase(), [there])
    assert starved(phase("continued_pretraining"), [there]) and starved(phase("dpo"), [documents])
