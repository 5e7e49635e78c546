"""The shipped recipes whose rows a model makes, whole, by `assay run` with scripted models over HTTP."""

import json
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion
from support.following_rewriter import Rewriter

from materializers.artifacts import Artifacts
from ops.run import run
from ops.run_index import artifacts_of, find_run
from steps.contracts.records import Row
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.state import state_folder

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "configs" / "runs"
SUBJECTS = ("rivers", "towers", "songs", "mayors", "bridges", "bread", "clocks", "ships", "tides", "kites")
COMMON = ("scrub={demo_key: true}", "skip=[judge, leakcheck]", "split={validation: 0.1, test: 0.2}")


class Inventive(Rewriter):
    """Its questions share no phrases: made-up words of what another would have written."""

    def _questions(self, orders: str, value: Any, number: int) -> list[str]:
        said = super()._questions(orders, value, number)
        return [" ".join(sha256(f"{text} {word}".encode()).hexdigest()[:7] for word in range(9)) + "?" for text in said]


def chats(folder: Path, count: int = 60) -> Path:
    path = folder / "chats.jsonl"
    rows = [
        {"prompt": f"What is known of {SUBJECTS[i % 10]} in year {1400 + 7 * i}, by which {SUBJECTS[i // 10]} stood?",
         "completion": f"{SUBJECTS[i % 10].title()} had {i * 13} names then, and mail{i}@example.org has them."}
        for i in range(count)
    ]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def ran(recipe: str, stage: str, overrides: list[str]) -> tuple[RunRecord, Artifacts]:
    """The recipe, run without what earlier tests paid for."""
    shutil.rmtree(state_folder() / stage, ignore_errors=True)
    assert run(RECIPES / f"{recipe}.yaml", overrides=[*COMMON, *overrides], root=ROOT) == 0
    record = find_run(ROOT, None)
    return record, artifacts_of(ROOT, record)


def rows_of(record: RunRecord, store: Artifacts, name: str) -> list[Row]:
    (version,) = [a for a in record.of_type("dataset") if a.name == name]
    return list(store.dataset(version).iter_rows())


def check_held_out(rows: list[Row], bodies: list[dict[str, Any]], key: str, of: tuple[str, ...] = ("train",)) -> None:
    """What was made is of these splits alone, and no server has seen a row of another or an address."""
    made = [r for r in rows if key in json.loads(r["meta"] or "{}")]
    assert made and {r["split"] for r in made} == set(of)
    sent = json.dumps(bodies)
    held = [r["messages"][0]["content"] for r in rows if r["split"] not in of]
    assert held and not [text for text in held if text in sent]
    assert "@example.org" not in sent


@pytest.mark.slow
def test_rows_are_rewritten_by_every_method_of_the_recipe(tmp_path: Path) -> None:
    with ScriptedServer(Inventive()) as server:
        record, store = ran(
            "augment", "augment",
            [f"ingest.sources.0.path={chats(tmp_path)}", f"augment.endpoint.base_url={server.url}"],
        )  # fmt: skip
    rows = rows_of(record, store, "augmented")
    said = [json.loads(r["meta"] or "{}").get("augmentation") for r in rows]
    made = Counter(s["method"] for s in said if s)
    assert set(made) == {"paraphrase", "back_translation", "evolve", "persona"}
    assert len(rows) == 60 + made.total()
    check_held_out(rows, server.bodies, "augmentation")
    page = (state_folder() / "runs" / record.name / "report.html").read_text()
    assert "Diversity of what was made" in page and "back_translation" in page


@pytest.mark.slow
def test_a_teacher_answers_in_place_of_the_rows_and_makes_up_further_tasks(tmp_path: Path) -> None:
    with ScriptedServer(Inventive()) as server:
        record, store = ran(
            "teacher_answers", "augment",
            [f"ingest.sources.0.path={chats(tmp_path)}", f"augment.endpoint.base_url={server.url}",
             "augment.methods.1.requests=5"],
        )  # fmt: skip
    rows = rows_of(record, store, "augmented")
    made = Counter(json.loads(r["meta"] or "{}").get("augmentation", {}).get("method", "") for r in rows)
    trains = [r for r in rows if r["split"] == "train"]
    assert all(r["messages"][-1]["content"].startswith("Taught: ") for r in trains)
    # Two tasks in each of five replies; each row that trains is the teacher's now.
    assert made["self_instruct"] == 10 and made["distill"] == len(trains) - 10 and made[""] == 60 - made["distill"]
    check_held_out(rows, server.bodies, "augmentation")


def samples(number: int, body: dict[str, Any]) -> Act:
    """A model under test: each time an answer of another length."""
    return completion("To Oslo, says jane@example.org" + " by the harbour" * (number % 4))


def prefers_short(_: int, body: dict[str, Any]) -> Act:
    value = json.loads(body["messages"][-1]["content"].split("\n")[1])
    a, b = (len(value[place][0]["content"]) for place in "AB")
    return completion(json.dumps({"reason": "shorter", "better": "A" if a < b else "B"}))


@pytest.mark.slow
def test_samples_of_a_model_are_judged_in_both_orders_and_a_model_learns_from_them(tmp_path: Path, tiny_model) -> None:
    with ScriptedServer(samples) as model, ScriptedServer(prefers_short) as judge:
        record, store = ran(
            "preference_pairs", "prefer",
            [f"ingest.sources.0.path={chats(tmp_path)}", f"prefer.model.endpoint.base_url={model.url}",
             f"prefer.judge.endpoint={{base_url: {judge.url}, model: j}}", f"base.model={tiny_model.path}",
             "base.revision=null", "template={}", "train.num_train_epochs=2", "train.max_length=256",
             "train.learning_rate=0.005",
             "train.per_device_train_batch_size=4", "train.gradient_accumulation_steps=1", "evaluate.dtype=float32",
             "gate={metric: loss, min_n: 5, min_control_n: 5, max_perplexity_ratio: null, max_degenerate: null}"],
        )  # fmt: skip
    rows = rows_of(record, store, "preferred")
    pairs = [r for r in rows if r["kind"] == "preference"]
    asked = [r for r in rows if r["kind"] == "conversation" and r["split"] != "test"]
    assert len(model.bodies) == 4 * len(asked) and pairs
    # What the model knows of people is replaced as well.
    assert all(
        r[side][0]["content"].startswith("To Oslo, says <EMAIL_") for r in pairs for side in ("chosen", "rejected")
    )
    page = (state_folder() / "runs" / record.name / "report.html").read_text()
    assert "jane@example.org" not in page and "replies with personal data, which was replaced" in page
    told = {a.name: store.report(a) for a in record.of_type("stage_report")}
    assert len(judge.bodies) == 2 * dict(row[:2] for row in told["prefer_report"].tables[0].rows)["decided"]
    assert all(len(r["chosen"][0]["content"]) < len(r["rejected"][0]["content"]) for r in pairs)
    check_held_out(rows, [*model.bodies, *judge.bodies], "preference", ("train", "validation"))
    learnt, splits = told["train_report"], Counter(r["split"] for r in pairs)
    assert learnt.counts["training"]["sequences"] == splits["train"]
    measured = dict(learnt.tables[0].rows)
    assert measured["validation rows"] == splits["validation"] > 0
    assert measured["reward accuracy before"] == 0.5 < measured["reward accuracy after"]
    (margins,) = [s.y for s in learnt.series if s.title == "Reward margin, training"]
    assert margins[-1] > margins[0]
