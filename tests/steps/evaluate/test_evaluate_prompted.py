"""A model that is asked with instructions, examples and passages, chosen on the validation split alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.cross_encoders import tiny_cross_encoder

from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.errors import ConfigError
from steps.contracts.records import SPLITS, Row, make_row, message
from steps.engines.lm.generate import Generated
from steps.engines.scoring.answers import read_answers
from steps.engines.subjects import local_model as local
from steps.engines.subjects.local_model import Inference, local_model
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.prompted import prompted
from steps.evaluate.subject_config import SubjectConfig
from steps.evaluate.tasks import suite

COLOURS = ["red", "green", "blue", "grey"]


def chat(n: int) -> Row:
    turns = [message("user", f"colour of box {n}?"), message("assistant", json.dumps({"colour": COLOURS[n % 4]}))]
    return make_row(kind="conversation", source="s/a", locator=f"line:{n}", raw=b"%d" % n, messages=turns)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Boxes of all splits, and a pair of samples, which is no reference for how a model should be asked."""
    rows = [chat(n) for n in range(40)]
    sampled = {s: [message("assistant", s)] for s in ("chosen", "rejected")}
    pair = make_row(
        kind="preference", source="s/a", locator="pair", raw=b"", messages=rows[24]["messages"][:1],
        parents=[rows[24]["record_id"]], meta={"preference": {"margin": 0.5}}, **sampled,
    )  # fmt: skip
    writer = DatasetWriter(tmp_path / "v1", "ingest")
    writer.write_rows([*rows, pair])
    names = ["train" if n < 24 else "validation" if n < 32 else "test" for n in range(40)]
    codes = np.array([SPLITS.index(name) for name in [*names, "validation"]])
    return writer.close().select(np.ones(41, bool), tmp_path / "v2", "split", codes)


def knowing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Generation by something that answers rightly when it is shown at least two examples; what it was asked."""
    asked: list[str] = []

    def said(text: str) -> str:
        *_, question, _ = text.split("<|im_start|>")
        number = int(question.rpartition("box ")[2].partition("?")[0])
        right = text.count("assistant\n") > 2
        return f"I think.\nAnswer: {json.dumps({'colour': COLOURS[number % 4] if right else 'none'})}"

    def generate(loaded: Any, texts: list[str], **how: Any) -> list[Any]:
        asked.extend(texts)
        return [Generated(said(t), cut=False) for t in texts]

    monkeypatch.setattr(local, "generate", generate)
    return asked


def measured(model: Any, subject: SubjectConfig, dataset: Dataset, folder: Path, **config: Any) -> Any:
    settings = EvaluateConfig(metrics=("exact_match",), extractor="json", device="cpu", **config)
    with (
        local_model("base", model, None, inference(settings)) as plain,
        prompted(plain, subject, dataset, settings, folder, folder / "cache") as (asked, tries),
    ):
        return evaluate(asked, suite(dataset, settings, folder), settings, folder, folder / "out", tries)


def test_the_best_of_several_ways_is_chosen_on_validation_rows(tiny_model, dataset, tmp_path, monkeypatch) -> None:
    asked = knowing(monkeypatch)
    subject = SubjectConfig(name="prompted", shots=(0, 1, 2), system=("Be brief.",), answer_after="Answer:")
    done = measured(tiny_model, subject, dataset, tmp_path)
    assert [t.estimate.value for t in done.report.tries] == [0.0, 0.0, 1.0]
    assert {t.estimate.n for t in done.report.tries} == {8}
    (exact,) = (m.estimate for t in done.report.tasks for m in t.metrics if m.name == "exact_match")
    assert (exact.value, exact.n) == (1.0, 8)
    rows = read_answers(done.answers)["held_out"]
    assert all(r.prompt.count("<|im_start|>system\nBe brief.") == 1 for r in rows)
    assert all(r.prompt.count("assistant\n") == 3 and r.reasoning == "I think." for r in rows)
    held_out = {chat(n)["messages"][0]["content"] for n in range(24, 40)}
    shown = [part for text in asked for part in text.split("<|im_start|>user\n")[1:-1]]
    assert shown and not any(part.startswith(tuple(held_out)) for part in shown), "examples are of the train split"


@pytest.mark.slow
def test_the_digest_changes_with_how_it_is_asked_and_only_then(tiny_model, dataset, tmp_path) -> None:
    def digest(**said: Any) -> str:
        subject = SubjectConfig(name="any", **said)
        with (
            local_model("base", tiny_model, None, Inference(device="cpu")) as plain,
            prompted(plain, subject, dataset, EvaluateConfig(), tmp_path, tmp_path / "c") as (model, _),
        ):
            return model.digest

    (tmp_path / "one.txt").write_text("Box one is red and stands in the hall.")
    said = [
        {"system": "a"}, {"system": "b"}, {"shots": 2}, {"shots": 3}, {"shots": 3, "shots_by": "similar"},
        {"retrieval": {}}, {"retrieval": {}, "top_k": 1}, {"retrieval": {"documents": "one.txt"}},
    ]  # fmt: skip
    found = [digest(**s) for s in said]
    assert len({*found, tiny_model.info.digest}) == len(said) + 1
    assert digest(**said[4]) == found[4]
    (tmp_path / "one.txt").write_text("Box one is blue and stands in the hall.")
    assert digest(**said[-1]) != found[-1]


def test_passages_and_examples_make_room_for_the_answer(tiny_model, dataset, tmp_path, monkeypatch) -> None:
    asked = knowing(monkeypatch)
    (tmp_path / "boxes.txt").write_text("\n\n".join(f"box {n} " + "is here and there " * 4 for n in range(24, 40)))
    retrieval = {"documents": "boxes.txt", "chunk": {"max_tokens": 24, "min_tokens": 0}}
    subject = SubjectConfig(name="retrieving", retrieval=retrieval, top_k=8)
    done = measured(tiny_model, subject, dataset, tmp_path, max_length=300)
    texts = {r.row_id: r.prompt for r in read_answers(done.answers)["held_out"]}
    counts = {text.count("is here and there is here") for text in texts.values()}
    assert asked and counts and 0 < max(counts) < 8
    assert any("fewer examples or passages" in n for n in done.report.notes)
    assert all("box" in t.partition("[1] ")[2][:10] for t in texts.values())
    recall = [m for t in done.report.tasks for m in t.metrics if m.name == "context_recall"]
    assert recall and recall[0].estimate.value == 0, "no passage says a colour"


@pytest.mark.parametrize(
    ("said", "why"),
    [({}, "asked like the model itself"), ({"shots": (1, 2, 3), "system": ("a", "b", "c")}, "9 combinations"),
     ({"shots": -1}, "at least 0"), ({"system": "a", "passages_as": "{passages}"}, "once each"),
     ({"shots": ()}, "empty list")],
)  # fmt: skip
def test_settings_that_say_nothing_are_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SubjectConfig(name="any", **said)


def test_without_validation_rows_there_is_nothing_to_choose_on(tiny_model, tmp_path, monkeypatch) -> None:
    rows = [chat(n) for n in range(8)]
    writer = DatasetWriter(tmp_path / "v1", "ingest")
    writer.write_rows(rows)
    codes = np.array([SPLITS.index("train" if n < 4 else "test") for n in range(8)])
    dataset = writer.close().select(np.ones(8, bool), tmp_path / "v2", "split", codes)
    knowing(monkeypatch)
    with pytest.raises(ConfigError, match="validation split is empty"):
        measured(tiny_model, SubjectConfig(name="p", shots=(1, 2)), dataset, tmp_path)


@pytest.mark.slow
def test_recall_of_gold_passages_stands_apart_from_answers_with_and_without_the_second_model(
    tiny_model, dataset, tmp_path, monkeypatch
) -> None:
    knowing(monkeypatch)
    (tmp_path / "docs").mkdir()
    for n in range(12):
        (tmp_path / "docs" / f"{n}.txt").write_text(f"Here stands box {n}. Its colour is {COLOURS[n % 4]}.")
    lines = [{"id": f"q{n}", "question": f"colour of box {n}?", "answer": COLOURS[n % 4],
              "passages": [f"stands box {n}."], "document": f"docs/{n}.txt"} for n in range(8)]  # fmt: skip
    # Looked up by other words, the box isn't found first; nowhere is a box 99; of the last nothing is known.
    lines += [
        {"id": "q8", "question": "box 3?", "answer": "x", "passages": ["stands box 9."]},
        {"id": "q9", "question": "box 99?", "answer": "x", "passages": ["stands box 99."]},
        {"id": "qx", "question": "box 4?", "answer": "x"},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "suite.yaml").write_text(
        "{name: s, version: '1', licence: CC0-1.0, tasks: [{name: q, kind: qa, file: q.jsonl}]}"
    )

    def figures(**more: Any) -> tuple[dict[str, Any], Any]:
        retrieval = {"documents": "docs", **more}
        done = measured(tiny_model, SubjectConfig(name="r", retrieval=retrieval, top_k=2), dataset, tmp_path,
                        suites=("suite.yaml",))  # fmt: skip
        (task,) = [t for t in done.report.tasks if t.suite]
        return {m.name: m.estimate for m in task.metrics if "recall_at" in m.name}, done

    plain, done = figures()
    assert set(plain) == {f"{what}_recall_at_{k}" for what in ("passage", "document") for k in (1, 2, 3, 5, 10)}
    assert (plain["passage_recall_at_1"].value, plain["passage_recall_at_1"].n) == (0.8, 10)
    assert (plain["document_recall_at_1"].value, plain["document_recall_at_1"].n) == (1.0, 8)
    assert plain["passage_recall_at_1"].low < 0.8 < plain["passage_recall_at_1"].high
    assert "s.q: 1 of 10 gold passages stand nowhere in what is looked up" in done.report.notes
    assert not any(m.name.startswith("passage") for m in done.report.tasks[0].metrics), "held-out rows name none"

    tiny_cross_encoder(tmp_path / "cross")
    second, _ = figures(rerank={"model": "cross"}, candidates=4)
    assert set(second) == {f"{what}_recall_at_{k}{b}" for what in ("passage", "document") for k in (1, 2, 3)
                           for b in ("", "_before_rerank")}  # fmt: skip
    for k in (1, 2, 3):
        assert second[f"passage_recall_at_{k}_before_rerank"] == plain[f"passage_recall_at_{k}"]
    assert second["passage_recall_at_1"].value < 0.8, "random weights put others first"
