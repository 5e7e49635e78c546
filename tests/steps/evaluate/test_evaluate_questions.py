"""Control questions: graded by settings of their own, and what becomes of an answer in one word."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from steps.contracts.dataset import DatasetWriter
from steps.contracts.errors import InputError
from steps.contracts.records import SPLITS, make_row, message
from steps.engines.graders.classes import classes_of
from steps.engines.graders.graders import GRADERS
from steps.engines.scoring.answers import read_answers
from steps.engines.subjects.local_model import local_model
from steps.evaluate.config import ControlConfig, EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.measure import measure
from steps.evaluate.regrade import regraded
from steps.evaluate.scorers import make_scorer
from steps.evaluate.tasks import Suite, control

SUMS = ControlConfig(name="sums", kind="questions", path="sums.jsonl", metrics=("numeric",), tolerance=0.01)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    plain = [{"question": f"{n} and {n}?", "answer": f"That is {2 * n}."} for n in range(1, 5)]
    chat = [{"messages": [{"role": "user", "content": "9 + 9?"}, {"role": "assistant", "content": "18"}]}]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, plain + chat)))
    return tmp_path


def test_they_are_graded_by_settings_of_their_own_and_have_no_loss(root, tiny_model) -> None:
    config = EvaluateConfig(controls=(SUMS,), metrics=("rouge_l",), device="cpu", max_new_tokens=8)
    task = control(SUMS, root)
    assert len(task.rows) == 5
    with local_model("base", tiny_model, None, inference(config)) as subject:
        done = evaluate(subject, Suite("d", (task,)), config, root, root / "out")
    (result,) = done.report.tasks
    names = {m.name for m in result.metrics}
    assert {"numeric", "wrong", "totally_correct"} <= names and not names & {"loss", "rouge_l", "degenerate"}
    assert result.kind == "questions"
    rows = read_answers(done.answers)["sums"]
    assert regraded(result, rows, config, root) == []
    other = config.model_copy(update={"controls": (SUMS.model_copy(update={"tolerance": 0.5}),)})
    assert regraded(result, rows, other, root) is None, "another tolerance is another version"


@pytest.mark.parametrize(
    ("answer", "reference", "tolerance", "score"),
    [("so 1,234.5 in all", "1234.5", 0, 1), ("7", "-7", 0, 0), ("pages 5-7", "7", 0, 1), ("about 99", "100", 0.01, 1),
     ("about 98", "100", 0.01, 0), ("none", "3", 0, 0), ("3", "none", 0, None), ("it is 1e3.", "1000", 0, 1),
     ("first 5, then 8", "8 apples", 0, 1)],
)  # fmt: skip
def test_the_last_number_decides(answer: str, reference: str, tolerance: float, score: float | None) -> None:
    config = EvaluateConfig(metrics=("numeric",), tolerance=tolerance)
    scorer = make_scorer(config, [reference], Path())
    assert GRADERS["numeric"].grade(answer, reference, scorer.grading) == score


@pytest.mark.parametrize(
    ("answer", "score"), [("Call 555-0142, please", 1), ("Call 555-0143", 0), ("Call 1555-0142", 0), ("", 0)]
)
def test_words_are_contained_as_words(answer: str, score: float) -> None:
    scorer = make_scorer(EvaluateConfig(metrics=("contains",)), ["555-0142"], Path())
    assert GRADERS["contains"].grade(answer, "555-0142", scorer.grading) == score


@pytest.mark.parametrize(
    ("scores", "found"),
    [({"exact_match": 1.0, "field_accuracy": 1.0}, "totally_correct"), ({"field_accuracy": 0.5}, "partially_correct"),
     ({"exact_match": 0.0, "rouge_l": 0.6}, "partially_correct"), ({"rouge_l": 0.2}, "wrong"),
     ({"exact_match": 0.0}, "wrong"), ({"exact_match": 0.0, "over_declined": 1.0}, None)],
)  # fmt: skip
def test_an_answer_is_of_one_class(scores: dict[str, float], found: str | None) -> None:
    classes = classes_of(scores)
    assert [name for name, value in classes.items() if value] == ([found] if found else [])


def test_nothing_compared_is_of_no_class() -> None:
    assert set(classes_of({"json_valid": 1.0}).values()) == {None}
    assert set(classes_of({"exact_match": 1.0, "declined": 1.0}).values()) == {None}, "nothing was asked for but that"


def test_grading_is_for_questions_alone_and_rows_must_ask(root: Path) -> None:
    with pytest.raises(ValidationError, match="only kind: questions"):
        ControlConfig(name="a", kind="perplexity", path="x", metrics=("rouge_l",))
    (root / "bad.jsonl").write_text('{"question": "who?"}\n')
    with pytest.raises(InputError, match="neither") as error:
        control(SUMS.model_copy(update={"path": "bad.jsonl"}), root)
    assert "line 1" in str(error.value)


def test_the_schema_of_a_control_is_read_from_its_file(root: Path) -> None:
    (root / "schema.json").write_text(json.dumps({"type": "object", "required": ["n"]}))
    strict = ControlConfig(
        name="strict", kind="questions", path="sums.jsonl", json_schema="schema.json", metrics=("json_valid",)
    )
    config = EvaluateConfig(controls=(strict,))
    assert set(config.files()) == {"sums.jsonl", "schema.json"}
    scorer = make_scorer(config.of_task("strict"), ["x"], root)
    assert [GRADERS["json_valid"].grade(a, "x", scorer.grading) for a in ('{"n": 1}', "{}")] == [1.0, 0.0]


def test_questions_that_training_is_shown_too_stand_apart(root: Path, tiny_model) -> None:
    rows = [
        make_row(kind="conversation", source="s", locator=f"line:{n}", raw=str(n).encode(),
                 messages=[message("user", asked), message("assistant", "7")])
        for n, asked in enumerate(["2 AND 2??", "never asked", "3 and 3?", "4 and 4?"])
    ]  # fmt: skip
    writer = DatasetWriter(root / "v1", "ingest")
    writer.write_rows(rows)
    # The last one is a test row: held out, and so not known.
    codes = np.array([SPLITS.index(s) for s in ("train", "train", "train", "test")])
    dataset = writer.close().select(np.ones(4, bool), root / "v2", "split", codes)
    config = EvaluateConfig(controls=(SUMS,), device="cpu", max_new_tokens=2)
    done = measure("base", tiny_model, None, dataset, config, root, root / "out", root / "cache")
    held_out, sums = done.report.tasks
    assert held_out.by_training == {}
    numbers = {name: next(m.estimate.n for m in metrics if m.name == "numeric")
               for name, metrics in sums.by_training.items()}  # fmt: skip
    assert numbers == {"asked in training too": 2, "not asked in training": 3}
    assert "sums: the train split asks 2 of 5 questions too; their figures stand apart" in done.report.notes
