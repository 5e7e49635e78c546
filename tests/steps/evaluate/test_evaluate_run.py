import json
import random
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from steps.contracts.dataset import DatasetWriter
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.evaluation import ANSWERS_SCHEMA
from steps.contracts.models import ModelFolder
from steps.contracts.records import SPLITS, make_row, message
from steps.engines.graders.classes import CLASSES
from steps.engines.lm.load import load
from steps.engines.scoring.answers import read_answers
from steps.engines.subjects.local_model import local_model
from steps.engines.subjects.subject import Asked, Losses, Prompt, Replies
from steps.evaluate.config import ControlConfig, EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.tasks import control, held_out, suite

FAULTS = {"empty", "looping", "one_answer", "degenerate"}
COLOURS = ["red", "green", "blue", "grey"]


def chat(n, answer, question=None):
    turns = [message("user", question or f"colour of box {n}?"), message("assistant", answer)]
    return make_row(kind="conversation", source="s/a", locator=f"line:{n}", raw=b"%d" % n, messages=turns)


def dataset_of(rows, folder, splits=None):
    writer = DatasetWriter(folder / "v1", "ingest")
    writer.write_rows(rows)
    first = writer.close()
    codes = np.array([SPLITS.index(s) for s in splits or ["test"] * len(rows)], np.int8)
    return first.select(np.ones(len(rows), bool), folder / "v2", "split", codes)


@pytest.fixture
def rows():
    return [chat(n, json.dumps({"colour": COLOURS[n % 4], "n": n})) for n in range(24)]


@pytest.fixture
def controls(tmp_path):
    texts = [f"the quick brown fox {n} jumps over the lazy dog" for n in range(6)]
    (tmp_path / "general.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    asked = [
        [{"role": "user", "content": f"who is {n}?"}, {"role": "assistant", "content": "I don't know."}] for n in "abc"
    ]
    (tmp_path / "unknown.jsonl").write_text("".join(json.dumps({"messages": m}) + "\n" for m in asked))
    return (
        ControlConfig(name="general", kind="perplexity", path="general.jsonl"),
        ControlConfig(name="unknown", kind="unanswerable", path="unknown.jsonl"),
    )


def run(model, dataset, config, tmp_path, name="out", adapter=None):
    tasks = suite(dataset, config, tmp_path)
    with local_model("tuned" if adapter else "base", model, adapter, inference(config)) as subject:
        return evaluate(subject, tasks, config, tmp_path, tmp_path / name)


def metrics(task):
    return {m.name: m for m in task.metrics}


def test_every_row_is_answered_scored_and_kept(tiny_model, rows, controls, tmp_path):
    dataset = dataset_of(rows, tmp_path)
    done = run(tiny_model, dataset, EvaluateConfig(controls=controls), tmp_path)
    table = pq.read_table(done.answers.path)
    assert table.schema.equals(ANSWERS_SCHEMA)
    assert done.answers.rows == table.num_rows == 24 + 6 + 3
    tasks = {t.task: t for t in done.report.tasks}
    assert [t.kind for t in done.report.tasks] == ["held_out", "perplexity", "unanswerable"]
    assert set(metrics(tasks["held_out"])) == {
        "loss", "perplexity", "non_finite", "exact_match", "json_valid", "field_accuracy", "unparsed", "over_declined",
        *CLASSES,
        *FAULTS,
    }  # fmt: skip
    assert set(metrics(tasks["general"])) == {"loss", "perplexity", "non_finite"}
    assert set(metrics(tasks["unknown"])) == {"declined", "answered_unanswerable"}
    assert all(m.estimate.n == t.n and m.estimate.low <= m.estimate.value <= m.estimate.high
               for t in done.report.tasks for m in t.metrics)  # fmt: skip
    assert not metrics(tasks["held_out"])["loss"].higher_is_better
    answers = read_answers(done.answers)
    assert [a.row_id for a in answers["held_out"]] == sorted(r["record_id"] for r in rows)
    assert all(a.answer is not None and a.prompt.endswith("<|im_start|>assistant\n") for a in answers["held_out"])


def test_results_do_not_depend_on_the_order_of_rows(tiny_model, rows, controls, tmp_path):
    config = EvaluateConfig(controls=controls, max_rows=10)
    one = run(tiny_model, dataset_of(rows, tmp_path / "a"), config, tmp_path, "a")
    random.Random(3).shuffle(rows)
    for control_file in ("general.jsonl", "unknown.jsonl"):
        lines = (tmp_path / control_file).read_text().splitlines(keepends=True)
        (tmp_path / control_file).write_text("".join(lines[::-1]))
    other = run(tiny_model, dataset_of(rows, tmp_path / "b"), config, tmp_path, "b")
    assert other.answers.path.read_bytes() == one.answers.path.read_bytes()
    timeless = {"seconds": 0.0, "cpu_seconds": 0.0, "usage": None}
    assert other.report.model_copy(update=timeless) == one.report.model_copy(update=timeless)
    assert one.report.tasks[0].n == 10
    assert "10 of 24 test rows" in one.report.notes[0]


def test_loss_is_the_models_own_on_the_assistants_tokens(tiny_model, rows, tmp_path):
    import torch

    done = run(tiny_model, dataset_of(rows[:5], tmp_path), EvaluateConfig(metrics=("loss",)), tmp_path)
    loaded = load(tiny_model)
    nats, tokens = 0.0, 0
    for row in rows[:5]:
        turns = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
        prompt = loaded.tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        answer = loaded.tokenizer(turns[1]["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"] + answer])
        with torch.inference_mode():
            logs = loaded.model(ids).logits[0].log_softmax(-1)
        nats -= sum(float(logs[ids.shape[1] - len(answer) - 1 + i, t]) for i, t in enumerate(answer))
        tokens += len(answer)
    task = done.report.tasks[0]
    assert metrics(task)["loss"].estimate.value == pytest.approx(nats / tokens, rel=1e-4)
    assert set(metrics(task)) == {"loss", "perplexity", "non_finite", *FAULTS}
    assert json.loads(done.report.decoding)["max_new_tokens"] == {}
    assert json.loads(done.report.decoding)["probe_tokens"] == {"held_out": 64}
    assert done.report.notes == (
        "held_out: 5 rows were answered in 64 tokens at most, to see if the model degenerates",
    )


@pytest.mark.slow
def test_the_same_weights_as_tuned_model_give_the_same_answers(tiny_model, rows, tmp_path):
    dataset = dataset_of(rows[:6], tmp_path)
    tuned = ModelFolder(tiny_model.info.model_copy(update={"digest": "d" * 64}), tiny_model.path)
    base = run(tiny_model, dataset, EvaluateConfig(), tmp_path, "a")
    other = run(tiny_model, dataset, EvaluateConfig(), tmp_path, "b", adapter=tuned)
    assert base.answers.path.read_bytes() == other.answers.path.read_bytes()
    assert (base.report.subject, other.report.subject) == ("base", "tuned")
    assert other.report.model_digest == "d" * 64


def test_a_prompt_that_leaves_no_room_is_wrong_not_left_out(tiny_model, tmp_path):
    rows = [chat(1, "blue"), chat(2, "red", question="why? " * 300)]
    done = run(tiny_model, dataset_of(rows, tmp_path), EvaluateConfig(), tmp_path)
    scores = {a.reference: a for a in read_answers(done.answers)["held_out"]}
    assert scores["red"].answer is None
    assert scores["red"].scores["exact_match"] == 0.0
    assert any("1 prompts leave no room" in n for n in done.report.notes)


def test_a_broken_model_has_no_loss(tiny_model, rows, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model.path, tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    broken = ModelFolder(tiny_model.info, tmp_path / "model")
    done = run(broken, dataset_of(rows[:4], tmp_path), EvaluateConfig(metrics=("loss",)), tmp_path)
    found = metrics(done.report.tasks[0])
    assert set(found) == {"non_finite", *FAULTS}
    assert found["degenerate"].estimate.value == 1.0
    assert found["non_finite"].estimate.value == 1.0
    assert any("not finite" in n for n in done.report.notes)


class Echo:
    """Says what it was asked in capitals, and knows no probabilities: as an endpoint would."""

    name, digest, decoding = "echo", "e" * 64, {"endpoint": "nowhere"}

    def prompts(self, rows):
        asked = [[m["content"] for m in row["messages"]] for row in rows]
        return Asked([Prompt(a[0], a[1]) if a else None for a in asked])

    def answer(self, prompts, max_new_tokens):
        return Replies([p.text.upper() for p in prompts], max_new_tokens or 9, ("spoke up",))


class Counting:
    """Knows only what text costs it: one nat per character."""

    name, digest, decoding = "counting", "f" * 64, {}

    def losses(self, rows):
        return Losses([(float(len(r["text"] or "")), 1) if r["text"] else None for r in rows])


def test_a_subject_is_measured_by_what_it_can_do(rows, controls, tmp_path):
    config = EvaluateConfig(controls=controls, metrics=("exact_match",), extractor="none", ignore_case=True)
    tasks = suite(dataset_of([chat(n, f"COLOUR of box {n}?") for n in range(5)], tmp_path), config, tmp_path)
    done = evaluate(Echo(), tasks, config, tmp_path, tmp_path / "echo")
    held_out_, general, unknown = done.report.tasks
    assert (done.report.subject, done.report.model_digest) == ("echo", "e" * 64)
    assert metrics(held_out_)["exact_match"].estimate.value == 1.0
    assert "loss" not in metrics(held_out_) and not general.metrics
    assert metrics(unknown)["answered_unanswerable"].estimate.value == 1.0
    assert json.loads(done.report.decoding) == {"endpoint": "nowhere", "max_new_tokens": {"held_out": 9, "unknown": 9}}
    assert done.report.notes[-2:] == ("held_out: spoke up", "unknown: spoke up")
    done = evaluate(Counting(), tasks, config, tmp_path, tmp_path / "counting")
    assert [set(metrics(t)) for t in done.report.tasks] == [set(), {"loss", "perplexity", "non_finite"}, set()]
    texts = [r["text"] for r in tasks.tasks[1].rows]
    assert metrics(done.report.tasks[1])["loss"].estimate.value == sum(map(len, texts)) / len(texts)
    assert not any(a.answer for answers in read_answers(done.answers).values() for a in answers)


class Babbler(Echo):
    """Says one thing over and over, and goes on with texts in the same way."""

    def answer(self, prompts, max_new_tokens):
        return Replies(["the " * 8 for _ in prompts], max_new_tokens or 9, ())

    def beginnings(self, rows, tokens):
        return [Prompt(r["text"][:9], r["text"][9:]) if r["text"] else None for r in rows]


def test_a_subject_that_babbles_is_seen_to_where_loss_is_the_only_metric(rows, tmp_path):
    texts = [make_row(kind="document", source="d", locator=f"{n}", raw=b"%d" % n, text=f"page {n}: a quick brown fox")
             for n in range(7)]  # fmt: skip
    config = EvaluateConfig(metrics=("loss",), degeneration_rows=5)
    tasks = suite(dataset_of([*rows, *texts], tmp_path), config, tmp_path)
    done = evaluate(Babbler(), tasks, config, tmp_path, tmp_path / "babbler")
    found = metrics(done.report.tasks[0])
    assert {n: (m.estimate.value, m.estimate.n) for n, m in found.items()} == {
        "empty": (0.0, 5), "looping": (1.0, 5), "one_answer": (0.0, 5), "degenerate": (1.0, 5),
        "degenerate_continuation": (1.0, 5),
    }  # fmt: skip
    answered = [a for a in read_answers(done.answers)["held_out"] if a.answer is not None]
    assert len(answered) == 10 and all(a.answer.startswith("the the") for a in answered)
    # The same rows whatever their order, and a subject that can't go on with texts is asked the rest.
    again = suite(dataset_of([*texts, *rows[::-1]], tmp_path / "again"), config, tmp_path)
    other = evaluate(Babbler(), again, config, tmp_path, tmp_path / "other")
    assert other.answers.path.read_bytes() == done.answers.path.read_bytes()
    assert "degenerate_continuation" not in metrics(
        evaluate(Echo(), tasks, config, tmp_path, tmp_path / "e").report.tasks[0]
    )


@pytest.mark.slow
def test_a_local_model_goes_on_with_the_first_half_of_a_document(tiny_model, tmp_path):
    text = "the quick brown fox jumps over the lazy dog " * 3
    rows = [make_row(kind="document", source="d", locator=t, raw=t.encode(), text=t) for t in (text, "too short")]
    with local_model("base", tiny_model, None, inference(EvaluateConfig())) as subject:
        begun, short = subject.beginnings(rows, 64)
    assert short is None
    assert (begun.text + begun.reference).split() == text.split() and abs(len(begun.text) - len(begun.reference)) < 20
    done = run(tiny_model, dataset_of(rows, tmp_path), EvaluateConfig(), tmp_path)
    assert metrics(done.report.tasks[0])["degenerate_continuation"].estimate.n == 1


def test_only_test_rows_are_read_and_the_sample_is_nested(rows, tmp_path):
    splits = ["train", "test", "validation"] * 8
    dataset = dataset_of(rows, tmp_path, splits)
    whole = held_out(dataset, None)
    assert {r["record_id"] for r in whole.rows} == {
        r["record_id"] for r, s in zip(rows, splits, strict=True) if s == "test"
    }
    three, five = held_out(dataset, 3), held_out(dataset, 5)
    assert {r["record_id"] for r in three.rows} < {r["record_id"] for r in five.rows}
    assert len({whole.data_digest, three.data_digest, five.data_digest}) == 3


def test_no_test_rows_is_an_error(rows, tmp_path):
    with pytest.raises(InputError, match="no test rows"):
        held_out(dataset_of(rows, tmp_path, ["train"] * 24), None)


def test_an_unwanted_answer_is_no_reference(tmp_path):
    unpaired = {"kind": "unpaired_preference", "source": "s", "raw": b"", "messages": [message("assistant", "x")]}
    judged = [make_row(**unpaired, locator=str(n), label=bool(n)) for n in (0, 1)]
    task = held_out(dataset_of([*judged, chat(1, "red")], tmp_path), None)
    assert {r["label"] for r in task.rows} == {True, None} and len(task.rows) == 2
    assert task.notes == ("held_out: 1 test rows left out, whose answers are unwanted",)


def test_preferences_and_documents_are_measured_too(tiny_model, tmp_path):
    prompt = [message("user", "colour?")]
    rows = [
        make_row(kind="preference", source="s", locator="1", raw=b"1", messages=prompt,
                 chosen=[message("assistant", "blue")], rejected=[message("assistant", "loud")]),
        make_row(kind="document", source="s", locator="2", raw=b"2", text="the quick brown fox"),
    ]  # fmt: skip
    done = run(tiny_model, dataset_of(rows, tmp_path), EvaluateConfig(), tmp_path)
    found = metrics(done.report.tasks[0])
    assert found["loss"].estimate.n == 2
    assert found["exact_match"].estimate.n == 1
    assert {a.reference for a in read_answers(done.answers)["held_out"]} == {"blue", None}


def test_a_text_control_is_cut_at_blank_lines_and_equal_texts_count_once(tmp_path):
    (tmp_path / "t.txt").write_text("one\ntwo\n\n \nthree\n\none\ntwo\n")
    task = control(ControlConfig(name="t", kind="perplexity", path="t.txt"), tmp_path)
    assert sorted(r["text"] for r in task.rows) == ["one\ntwo", "three"]
    assert "2 of 3 rows" in task.notes[0]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("perplexity", "{"),
        ("perplexity", "[]"),
        ("perplexity", '{"text": " "}'),
        ("unanswerable", '{"messages": [{"role": "user", "content": "q"}]}'),
        ("unanswerable", '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": 7}]}'),
        ("unanswerable", '{"messages": "q"}'),
    ],
)
def test_a_bad_control_line_is_named(tmp_path, kind, line):
    (tmp_path / "c.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match="line 1"):
        control(ControlConfig(name="c", kind=kind, path="c.jsonl"), tmp_path)
    (tmp_path / "c.jsonl").write_text("\n")
    with pytest.raises(InputError, match="without rows"):
        control(ControlConfig(name="c", kind=kind, path="c.jsonl"), tmp_path)
    with pytest.raises(InputNotFoundError):
        control(ControlConfig(name="c", kind=kind, path="gone.jsonl"), tmp_path)


@pytest.mark.slow
def test_of_several_sources_each_has_its_own_figures(rows, tiny_model, tmp_path):
    mixed = [{**row, "source": f"{'faq' if n % 3 else 'mail'}/a.jsonl"} for n, row in enumerate(rows)]
    config = EvaluateConfig(device="cpu", max_new_tokens=8)
    (task,) = run(tiny_model, dataset_of(mixed, tmp_path), config, tmp_path).report.tasks
    by_source = {s: {m.name: m.estimate for m in found} for s, found in task.by_source.items()}
    assert {s: m["exact_match"].n for s, m in by_source.items()} == {"faq": 16, "mail": 8}
    whole = {m.name: m.estimate for m in task.metrics}
    assert by_source.keys() == {"faq", "mail"} and by_source["faq"].keys() == whole.keys()
    parts = sum(m["json_valid"].value * m["json_valid"].n for m in by_source.values())
    assert parts == pytest.approx(whole["json_valid"].value * 24)
    (alone,) = run(tiny_model, dataset_of(rows, tmp_path / "one"), config, tmp_path, "two").report.tasks
    assert alone.by_source == {}
