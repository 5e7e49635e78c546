"""Pairs from documents by a scripted model over HTTP that does as it is told, with planted faults that are counted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from engines.llm.scripted_server import ScriptedServer
from support.following_writer import following
from support.textrows import chat, dataset, ledger_lines

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.records import make_row
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.synthesize import synthesize

THINGS = ("river", "tower", "bridge", "song")
PLACES = ("Oslo", "Lima", "Riga", "Kyiv", "Bern", "Cork")


def text_of(place: str) -> str:
    parts = []
    for thing in THINGS:
        filler = " ".join(f"{place.lower()}{thing}{i}" for i in range(16))
        parts.append(f"## On the {thing}\n\nThe {thing} of {place} is {thing}{place.lower()}. {filler}.")
    return f"# {place}\n\n" + "\n\n".join(parts) + "\n"


def documents(folder: Path, places: tuple[str, ...] = PLACES, test: int = 1, **more: Any) -> Dataset:
    """One document per place; the first `test` are held out."""
    rows = [
        make_row(kind="document", source=f"docs/guide/{p}.md", locator="row:1", raw=p.encode(), text=text_of(p), **more)
        for p in places
    ]
    version = dataset([*rows, chat("Hi?", "Hello.")], folder / "rows")
    codes = np.array([2 if n < test else 0 for n in range(len(rows))] + [0], np.int8)
    return version.select(np.ones(version.rows, bool), folder / "split", "split", codes)


def config(url: str, **more: Any) -> SynthesizeConfig:
    return SynthesizeConfig.model_validate(
        {"endpoint": {"base_url": url, "model": "m", "max_attempts": 1}, "chunk": {"max_tokens": 60, "min_tokens": 8},
         **more}
    )  # fmt: skip


def run(rows: Dataset, settings: SynthesizeConfig, folder: Path, cache: Path | None = None) -> Any:
    return synthesize(rows, settings, StageContext(folder, cache=cache or folder / "cache", scrubbed=True))


def made(outcome: Any) -> list[dict[str, Any]]:
    return [r | {"said": json.loads(r["meta"])["synthesis"]} for r in outcome.rows.iter_rows() if r["parents"]]


def test_planted_claims_are_found_and_counted(tmp_path: Path) -> None:
    rows = documents(tmp_path)
    planted = {("tower", p) for p in PLACES} | {("song", "Riga")}
    with ScriptedServer(following(lambda what, place: (what, place) in planted)) as server:
        done = run(rows, config(server.url, kinds={"fact": 2, "multi_hop": 0, "unanswerable": 0}), tmp_path / "out")
    report = done.report
    # 6 documents of 4 facts each: 24 pairs, 7 of them with a claim that isn't in the document.
    assert report.dropped_by == {"unsupported_claim": 7, "made_into_pairs": 6}
    assert (report.rows_in, report.created, report.kept) == (7, 24, 17 + 1)
    assert report.counts["claims checked"] == {"claims": 31, "unsupported": 7}
    found = made(done)
    assert len(found) == 17 and all(r["said"]["kind"] == "fact" for r in found)
    lines = ledger_lines(done)
    dropped = [json.loads(x["evidence"]) for x in lines if x["reason"] == "unsupported_claim"]
    assert [d["unsupported"][0]["claim"] for d in dropped] == ["It was finished in 1931."] * 7
    # Offsets are slices of the document; the pair's fact stands in its chunk.
    by_id = {r["record_id"]: r for r in rows.iter_rows()}
    for row in found:
        (parent,) = row["parents"]
        (chunk,) = row["said"]["chunks"]
        assert row["messages"][1]["content"] in by_id[parent]["text"][chunk["start"] : chunk["end"]]
        assert row["said"]["model"] == "m" and len(row["said"]["prompt_digest"]) == 64
        assert row["split"] == by_id[parent]["split"]
    # Whole documents are held out.
    assert {r["source"] for r in found if r["split"] == "test"} == {"docs/guide/Oslo.md"}
    assert not {r["source"] for r in found if r["split"] == "train"} & {"docs/guide/Oslo.md"}


def test_a_checker_that_calls_all_supported_is_held_to_its_quotes(tmp_path: Path) -> None:
    with ScriptedServer(following(lambda what, _: what == "song", lies=True)) as server:
        done = run(documents(tmp_path), config(server.url, kinds={"fact": 2, "multi_hop": 0}), tmp_path / "out")
    assert done.report.dropped_by["unsupported_claim"] == 6
    reasons = {
        u["why"] for x in ledger_lines(done) if x["reason"] == "unsupported_claim"
        for u in json.loads(x["evidence"])["unsupported"]
    }  # fmt: skip
    assert reasons == {"its evidence isn't there"}
