"""What models write is scrubbed before anything else sees it: rows, ledger, report, files."""

import json
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion
from support.following_rewriter import Rewriter
from support.following_writer import following, value_of
from support.textrows import chat, dataset, document

from steps.augment.augment import augment
from steps.augment.config import AugmentConfig
from steps.contracts.context import StageContext
from steps.contracts.errors import ServiceError
from steps.scrub.config import ScrubConfig
from steps.scrub.written import cleaner
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.synthesize import synthesize

# The detectors alone take seconds to make.
pytestmark = pytest.mark.slow
ADDRESS = "jane.roe@corp.example.org"


def clean_by(folder: Path, **settings: Any) -> Any:
    return cleaner(ScrubConfig(demo_key=True, **settings).model_dump_json(), folder)


def all_bytes(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_values_are_replaced_and_surrogates_that_the_model_was_shown_stay(tmp_path: Path) -> None:
    said = [f"Write to {ADDRESS}.", "Nothing.", "Her phone: 212-555-0142."]
    mail, nothing, phone = clean_by(tmp_path)(said, f"Ask {ADDRESS} of it.")
    assert mail.startswith("Write to <EMAIL_ADDRESS_") and nothing == "Nothing." and "<PHONE_NUMBER_" in phone
    shown = clean_by(tmp_path, mode="surrogate")(said, json.dumps({"text": f"Ask {ADDRESS} of it."}))
    assert shown[0] == said[0] and shown[2] != said[2] and "212-555-0142" not in shown[2]
    # What is replaced is no longer found.
    assert clean_by(tmp_path)([mail, phone], "") == [mail, phone]


def leaking(number: int, body: dict[str, Any]) -> Act:
    """A writer that adds an address to what it answers about towers; a checker that calls all of it stated."""
    orders = body["messages"][0]["content"]
    if orders.startswith("You check"):
        answer = value_of(body)["answer"]
        claims = [{"claim": answer, "evidence": "The tower of Oslo is toweroslo.", "supported": True}]
        return completion(json.dumps({"claims": claims}))
    act = following()(number, body)
    return Act(
        body=act.body.replace("The tower of Oslo is toweroslo.", f"The tower of Oslo is toweroslo, says {ADDRESS}.")
    )


def test_an_address_that_the_writer_knows_is_in_no_row_and_no_file(tmp_path: Path) -> None:
    facts = "The tower of Oslo is toweroslo. " + " ".join(f"oslo{i}" for i in range(20))
    rows = dataset([document(facts)], tmp_path / "rows")
    settings = {"kinds": dict.fromkeys(("how_to", "comparison", "where", "multi_hop", "unanswerable"), 0)}
    for name, clean in (("with", clean_by(tmp_path)), ("without", None)):
        with ScriptedServer(leaking) as server:
            config = SynthesizeConfig.model_validate({"endpoint": {"base_url": server.url, "model": "m"}, **settings})
            ctx = StageContext(tmp_path / name, cache=tmp_path / f"{name}_cache", scrubbed=True, clean=clean)
            done = synthesize(rows, config, ctx)
        (row,) = done.rows.iter_rows()
        assert ("<EMAIL_ADDRESS_" in row["messages"][1]["content"]) == (clean is not None)
        told = done.report.model_dump_json()
        assert (ADDRESS in told) == (clean is None)
    # Twice: in the answer and in the claim that repeats it.
    assert ADDRESS.encode() not in all_bytes(tmp_path / "with")


def test_a_teachers_answer_and_reasoning_are_scrubbed(tmp_path: Path) -> None:
    rewriter = Rewriter()

    def script(number: int, body: dict[str, Any]) -> Act:
        act = rewriter(number, body)
        return Act(
            body=act.body.replace("Taught: ", f"{ADDRESS} taught: ").replace("so I think", f"says {ADDRESS}, so I")
        )

    rows = dataset([chat(f"What is it in year {i}?", f"It is {i}.") for i in range(3)], tmp_path / "rows")
    with ScriptedServer(script) as server:
        config = AugmentConfig.model_validate(
            {"endpoint": {"base_url": server.url, "model": "m"}, "methods": [{"kind": "distill", "reasoning": "keep"}]}
        )
        ctx = StageContext(tmp_path / "out", cache=tmp_path / "cache", scrubbed=True, clean=clean_by(tmp_path))
        done = augment(rows, config, ctx)
    for row in done.rows.iter_rows():
        answer = row["messages"][-1]
        assert "<EMAIL_ADDRESS_" in answer["content"] and "<EMAIL_ADDRESS_" in answer["reasoning"]
    assert done.report.counts["replies with personal data, which was replaced"] == {"answers": 3}
    assert ADDRESS.encode() not in all_bytes(tmp_path / "out")
    with ScriptedServer(script) as server, pytest.raises(ServiceError, match="3 answers: unsearched"):
        config = AugmentConfig.model_validate(
            {"endpoint": {"base_url": server.url, "model": "m"}, "methods": [{"kind": "distill"}]}
        )
        failing = {"clean": lambda texts, _: [None for _ in texts], "cache": tmp_path / "2c"}
        ctx = StageContext(tmp_path / "2", scrubbed=True, **failing)
        augment(rows, config, ctx)


def test_where_nothing_was_found_nothing_is_counted(tmp_path: Path) -> None:
    rows = dataset([chat("What is it?", "That.")], tmp_path / "rows")
    with ScriptedServer(Rewriter()) as server:
        config = AugmentConfig.model_validate(
            {"endpoint": {"base_url": server.url, "model": "m"}, "methods": [{"kind": "distill"}]}
        )
        ctx = StageContext(tmp_path / "out", cache=tmp_path / "c", scrubbed=True, clean=lambda texts, _: list(texts))
        assert "replies with personal data, which was replaced" not in augment(rows, config, ctx).report.counts
