import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import spacy
from pydantic import ValidationError

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.digests import canonical_json
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, MissingDependencyError
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row, content_id_of, make_row, message
from steps.engines.execution.processes import Processes
from steps.scrub.config import NerConfig, ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.ner.detector import NerDetector
from steps.scrub.recognizers import presidio
from steps.scrub.recognizers.presidio import PresidioDetector
from steps.scrub.scrub import scrub

MAIL, PHONE, CARD, SSN = "jane.doe@example.org", "212-555-0142", "4111 1111 1111 1111", "536-90-4399"
SECRETS = [MAIL, PHONE, CARD, SSN]
CALL = canonical_json(
    [{"id": "c1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": MAIL, "n": 2})}}]
)


def conversation(number: int, *contents: str, meta: Row | None = None, calls: str | None = None) -> Row:
    roles = ["user", "assistant"]
    messages = [message(roles[i % 2], c) for i, c in enumerate(contents)]
    if calls:
        messages.append(message("assistant", "", tool_calls=calls))
    return make_row(
        kind="conversation",
        source="s",
        locator=f"line:{number}",
        raw=str(number).encode(),
        messages=messages,
        meta=meta,
    )


ROWS = [
    conversation(1, f"Mail {MAIL} please", f"I wrote to {MAIL.upper()}."),
    conversation(2, "Nothing to see here", "Indeed: 60000-10800=49200"),
    conversation(3, "send it", calls=CALL, meta={"author": f"call {PHONE}"}),
    conversation(4, f"card {CARD}, ssn {SSN}", "ok"),
    make_row(kind="document", source="s", locator="d", raw=b"d", text=f"Reach us at {PHONE} or {MAIL}"),
]


def dataset(folder: Path, rows: list[Row] = ROWS) -> Dataset:
    writer = DatasetWriter(folder, "ingest")
    writer.write_rows(rows)
    return writer.close()


def run(folder: Path, rows: list[Row] = ROWS, **settings: Any) -> Outcome:
    where = {"executor": settings.pop("executor")} if "executor" in settings else {}
    ctx = StageContext(folder / "out", **where)
    return scrub(dataset(folder / "in", rows), ScrubConfig(demo_key=True, **settings), ctx)


def by_id(outcome: Outcome) -> dict[str, Row]:
    return {r["record_id"]: r for r in outcome.rows.iter_rows()}


def everything_written(folder: Path, outcome: Outcome) -> str:
    ledger = pa.Table.to_pylist(outcome.ledger.read())
    return json.dumps(ledger) + outcome.report.model_dump_json()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("scrub"))


def test_every_value_is_replaced_everywhere(done: Outcome, tmp_path: Path) -> None:
    rows = by_id(done)
    text = json.dumps(list(rows.values())) + everything_written(tmp_path, done)
    for secret in SECRETS:
        assert secret not in text and secret.upper() not in text
    first, _, third, _, document = (rows[r["record_id"]] for r in ROWS)
    name = first["messages"][0]["content"].removeprefix("Mail ").removesuffix(" please")
    assert name.startswith("<EMAIL_ADDRESS_") and len(name) == len("<EMAIL_ADDRESS_>") + 12
    assert first["messages"][1]["content"] == f"I wrote to {name}."
    call = json.loads(third["messages"][1]["tool_calls"])[0]
    assert json.loads(call["function"]["arguments"]) == {"to": name, "n": 2}
    assert document["text"].endswith(name)
    assert json.loads(third["meta"])["author"].removeprefix("call ") in document["text"]


def test_ids_ledger_and_report(done: Outcome) -> None:
    before = {r["record_id"]: r for r in ROWS}
    after = by_id(done)
    lines = {line["record_id"]: line for line in done.ledger.read().to_pylist()}
    assert set(lines) == {r["record_id"] for r in ROWS} - {ROWS[1]["record_id"]}
    assert after[ROWS[1]["record_id"]] == ROWS[1]
    for record_id, line in lines.items():
        evidence = json.loads(line["evidence"])
        assert (line["verdict"], line["reason"]) == ("changed", "pii")
        assert after[record_id]["content_id"] == content_id_of(after[record_id]) == evidence["content_id"]["after"]
        assert evidence["content_id"]["before"] == before[record_id]["content_id"]
        assert sum(evidence["entities"].values()) == len(evidence["spans"])
    ((path, start, end, entity, name),) = json.loads(lines[ROWS[0]["record_id"]]["evidence"])["spans"][:1]
    assert (path, entity) == ("messages/0/content", "EMAIL_ADDRESS")
    assert ROWS[0]["messages"][0]["content"][start:end] == MAIL and name in str(after)
    report = done.report
    assert (report.rows_in, report.kept, report.changed, report.dropped) == (5, 5, 4, 0)
    assert report.counts["findings by entity"] == {"EMAIL_ADDRESS": 4, "PHONE_NUMBER": 2, "CREDIT_CARD": 1, "US_SSN": 1}
    assert any("NER is off" in note for note in report.notes) and any("DEMO KEY" in note for note in report.notes)
    assert done.quarantined is not None and done.quarantined.rows == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pseudonymise", "redact", "mask"])
def test_scrubbing_twice_changes_nothing(tmp_path: Path, mode: str) -> None:
    once = run(tmp_path, mode=mode)
    twice = scrub(once.rows, ScrubConfig(demo_key=True, mode=mode), StageContext(tmp_path / "again"))
    assert twice.report.changed == 0
    assert twice.rows.digest == once.rows.digest
    text = once.rows.iter_rows().__next__()["messages"][0]["content"]
    assert {"redact": "Mail <EMAIL_ADDRESS> please", "mask": "Mail **** please"}.get(mode, text) == text
    evidence = [json.loads(line["evidence"]) for line in once.ledger.read().to_pylist()]
    assert {e["mode"] for e in evidence} == {mode}
    names = [span[4] for e in evidence for span in e["spans"]]
    assert len(names) == 8 and all(len(n.split("_")[-1]) == 13 for n in names)


def test_credentials_go_by_default_also_inside_tool_calls(tmp_path: Path) -> None:
    rng = random.Random(1)
    token = "ghp_" + "".join(rng.choices("abcdefghijkmnpqrstuvwxyz0123456789", k=36))
    arguments = json.dumps({"headers": {"Authorization": f"token {token}"}, "n": 1})
    call = canonical_json([{"id": "c1", "type": "function", "function": {"name": "get", "arguments": arguments}}])
    outcome = run(tmp_path, [conversation(1, f"push with {token}", calls=call)])
    (row,) = outcome.rows.iter_rows()
    name = row["messages"][0]["content"].removeprefix("push with ")
    assert name.startswith("<GITHUB_TOKEN_") and token not in everything_written(tmp_path, outcome) + json.dumps(row)
    made = json.loads(json.loads(row["messages"][1]["tool_calls"])[0]["function"]["arguments"])
    assert made == {"headers": {"Authorization": f"token {name}"}, "n": 1}


@pytest.mark.slow
def test_workers_and_order_make_no_difference(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [conversation(n, f"row {n}: {rng.choice(SECRETS)} and {n}@mail.example.com", "ok") for n in range(300)]
    one = run(tmp_path / "one", rows)
    many = run(tmp_path / "many", rng.sample(rows, len(rows)), executor=Processes(2))
    assert by_id(one) == by_id(many) and one.rows.digest == many.rows.digest
    left, right = (sorted(map(canonical_json, o.ledger.read().to_pylist())) for o in (one, many))
    assert left == right
    assert one.report.examples == many.report.examples


def test_other_keys_give_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path / "in")
    texts = set()
    for key in ("a" * 32, "b" * 32):
        monkeypatch.setenv("ASSAY_PII_KEY", key)
        outcome = scrub(data, ScrubConfig(), StageContext(tmp_path / key[0]))
        texts.add(next(outcome.rows.iter_rows())["messages"][0]["content"])
        assert key not in everything_written(tmp_path, outcome)
    assert len(texts) == 2


def test_no_key_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_PII_KEY", raising=False)
    with pytest.raises(ConfigError, match="openssl rand"):
        scrub(dataset(tmp_path / "in"), ScrubConfig(), StageContext(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_allowed_values_stay(tmp_path: Path) -> None:
    outcome = run(tmp_path, allow=(MAIL.title(),))
    assert outcome.report.counts["findings by entity"].keys() == {"PHONE_NUMBER", "CREDIT_CARD", "US_SSN"}


def test_words_from_files_stay_or_go_and_are_not_logged(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("\ufeffZelda Quux\n\n  Bo Li \n", encoding="utf-8")
    (tmp_path / "public.txt").write_text(f"{MAIL}\n")
    rows = [conversation(1, f"zelda quux met Bo Li and Ann Lee, {MAIL}", "Zelda Quuxes")]
    config = ScrubConfig(
        demo_key=True, deny={"PERSON": ("Ann Lee",)}, deny_files={"PERSON": "staff.txt"}, allow_file="public.txt"
    )
    outcome = scrub(dataset(tmp_path / "in", rows), config, StageContext(tmp_path / "out", tmp_path))
    asked, answered = (m["content"] for m in next(outcome.rows.iter_rows())["messages"])
    assert asked.count("<PERSON_") == 3 and asked.endswith(MAIL) and answered == "Zelda Quuxes"
    assert "uux" not in everything_written(tmp_path, outcome).lower()
    (tmp_path / "staff.txt").write_text("\n")
    for name, error in (("nowhere.txt", InputNotFoundError), ("staff.txt", InputError)):
        with pytest.raises(error, match=name):
            scrub(outcome.rows, ScrubConfig(demo_key=True, allow_file=name), StageContext(tmp_path / "no", tmp_path))


def test_invisible_characters_hide_nothing(tmp_path: Path) -> None:
    rows = [conversation(1, "at jane\u200b.doe@exam\u00adple.org now", f"so {MAIL}")]
    outcome = run(tmp_path, rows)
    (row,) = outcome.rows.iter_rows()
    asked, answered = (m["content"] for m in row["messages"])
    assert asked.removeprefix("at ").removesuffix(" now") == answered.removeprefix("so ")
    assert answered.startswith("so <EMAIL_ADDRESS_")


def test_all_splits_are_scrubbed(tmp_path: Path) -> None:
    import numpy as np

    data = dataset(tmp_path / "in")
    split = data.select(np.ones(5, bool), tmp_path / "split", "split", np.array([0, 1, 2, 2, 1], np.int8))
    outcome = scrub(split, ScrubConfig(demo_key=True), StageContext(tmp_path / "out"))
    assert outcome.report.counts["changed rows by split"] == {"test": 2, "train": 1, "validation": 1}
    assert outcome.rows.manifest.splits == split.manifest.splits


@pytest.mark.parametrize(("policy", "kept"), [("quarantine", 4), ("drop", 4), ("keep", 5)])
def test_a_failing_detector_makes_the_row_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, kept: int
) -> None:
    monkeypatch.setattr(presidio, "PresidioDetector", _Failing)
    outcome = run(tmp_path, on_undecided=policy)
    assert (outcome.report.undecided, outcome.rows.rows) == (1, kept)
    assert outcome.quarantined is not None
    assert outcome.quarantined.rows == (policy == "quarantine")
    assert "boom" not in everything_written(tmp_path, outcome)


def test_a_failing_detector_can_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presidio, "PresidioDetector", _Failing)
    with pytest.raises(InputError, match="line:2"):
        run(tmp_path, on_undecided="fail")
    assert not (tmp_path / "out" / "ledger.parquet").exists()


class _Failing(PresidioDetector):
    def find(self, text: str) -> list[Finding]:
        if text == "Nothing to see here":
            raise ValueError(f"boom {text}")
        return super().find(text)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A real spaCy model folder whose entities are known: a ruler with two names and a place."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(  # type: ignore[attr-defined]
        [
            {"label": "PERSON", "pattern": "Ann Lee"},
            {"label": "GPE", "pattern": "Rome"},
            {"label": "ORG", "pattern": "Acme"},
        ]
    )
    nlp.to_disk(tmp_path / "model")
    return str(tmp_path / "model")


def test_named_entities_by_a_spacy_model(tmp_path: Path, model: str) -> None:
    filler = "word " * 6000
    rows = [conversation(1, "Ann Lee of Acme", "Rome is far from ann."), conversation(2, f"{filler}Ann Lee", "so")]
    config = ScrubConfig(demo_key=True, ner=NerConfig(engine="spacy", model=model))
    outcome = run(tmp_path, rows, ner=config.ner)
    first, second = (by_id(outcome)[r["record_id"]] for r in rows)
    name = first["messages"][0]["content"].removesuffix(" of Acme")
    assert name.startswith("<PERSON_") and second["messages"][0]["content"] == filler + name
    assert first["messages"][1]["content"].startswith("<LOCATION_")
    assert any("spacy model" in note for note in outcome.report.notes)
    again = scrub(
        outcome.rows,
        ScrubConfig(demo_key=True, ner=NerConfig(engine="spacy", model=model)),
        StageContext(tmp_path / "2"),
    )
    assert again.report.changed == 0


def test_named_entities_by_a_transformers_model(tmp_path: Path) -> None:
    """An untrained model made to call every word a person: all windows of a long text must be read."""
    import torch
    from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "lee", "lives", "in", "rome", "##s", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=64, id2label=labels, **settings)
    model = BertForTokenClassification(config)
    torch.nn.init.constant_(model.classifier.bias[1:2].data, 100.0)
    model.save_pretrained(tmp_path / "tagger")
    BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=64).save_pretrained(tmp_path / "tagger")
    settings = {"engine": "transformers", "model": str(tmp_path / "tagger"), "threshold": 0, "entities": ("PERSON",)}
    ner = NerDetector(NerConfig.model_validate(settings))
    texts = ["ann lee lives in rome . " * 40, "", "rome"]
    found = ner.find(texts)
    assert len(found) == 3 and not found[1]
    for text, findings in zip(texts, found, strict=True):
        assert {f.entity for f in findings} <= {"PERSON"}
        covered = {i for f in findings for i in range(f.start, f.end)}
        assert covered >= {i for i, c in enumerate(text) if c.isalnum()}
    with pytest.raises(ConfigError, match=r"(?s)stands for ORGANIZATION.*its labels: PER$"):
        NerDetector(NerConfig.model_validate({**settings, "entities": ("PERSON", "ORGANIZATION")}))
    (tmp_path / "tagger" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "tagger" / "pytorch_model.bin")
    with pytest.raises(MissingDependencyError, match=r"can't be loaded.*safetensors"):
        NerDetector(NerConfig.model_validate(settings))


@pytest.mark.parametrize("engine", ["spacy", "transformers"])
def test_a_missing_model_is_told_with_the_way_out(tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingDependencyError, match="download"):
        run(tmp_path, ner=NerConfig(engine=engine, model="no_such_model"))


def test_workers_are_refused_where_they_were_and_the_new_key_is_named() -> None:
    with pytest.raises(ValidationError, match=r"run: \{executor: \{kind: processes, workers: 4\}\}.*--workers 4"):
        ScrubConfig(workers=4)
    # As older records have it: what happens without a word.
    assert ScrubConfig.model_validate({"workers": 1, "language": "en"}) == ScrubConfig()
    with pytest.raises(ValidationError, match="language"):
        ScrubConfig.model_validate({"language": "de"})


def test_keys_numbers_and_names_of_tools_are_searched(tmp_path: Path) -> None:
    arguments = {"phone": 2125550142, "cards": [4111111111111111], MAIL: {"MAIL": "x"}, "order": 2125550142}
    function = {"name": MAIL, "arguments": json.dumps(arguments)}
    row = make_row(
        kind="conversation", source="s", locator="1", raw=b"1",
        messages=[
            message("user", "ring"),
            message("assistant", "", tool_calls=json.dumps([{"id": "c", "type": "function", "function": function}])),
            message("tool", f"{MAIL.replace('@', '%40')} {MAIL.replace('@', '&#64;')}", name=MAIL, tool_call_id="c"),
        ],
        meta={"mobile": 2125550142, "n": 7},
    )  # fmt: skip
    (done,) = by_id(run(tmp_path, [row], mode="redact")).values()
    (called,) = json.loads(done["messages"][1]["tool_calls"])
    assert called["function"]["name"] == done["messages"][2]["name"] == "<EMAIL_ADDRESS>"
    assert json.loads(called["function"]["arguments"]) == {
        "phone": "<PHONE_NUMBER>", "cards": ["<CREDIT_CARD>"], "<EMAIL_ADDRESS>": {"MAIL": "x"}, "order": 2125550142
    }  # fmt: skip
    assert done["messages"][2]["content"] == "<EMAIL_ADDRESS> <EMAIL_ADDRESS>"
    assert json.loads(done["meta"]) == {"mobile": "<PHONE_NUMBER>", "n": 7}
