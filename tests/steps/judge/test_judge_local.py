"""A model on this machine as the judge: its probabilities become scores, and nothing depends on order or on a cache."""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from support.families.models import tiny_model
from support.textrows import chat, dataset, document

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputNotFoundError, ServiceError
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge
from steps.judge.ratings import Rating

ROWS = [
    chat("What does a lamp cost?", "A lamp costs 20 euros."),
    chat("When is it sent?", ""),
    document("Lamps are sent on Mondays."),
    chat("Who pays?", "You do. " * 40),
    chat("What does a lamp cost?", "5"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 that likes numbers: every hidden state shares a part, to which the digits' rows point. It says
    ratings with a probability of over a half, and means nothing by them.
    """
    folder = tmp_path_factory.mktemp("model")
    tiny_model("Qwen3", folder, max_position_embeddings=2048, tie_word_embeddings=False)
    nudge(folder, 0.6)
    return folder


def nudge(folder: Path, strength: float) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    weights = load_file(folder / "model.safetensors")
    head, norm = weights["lm_head.weight"], weights["model.norm.weight"]
    # The last norm makes every state's first number large; a row of the head that looks there is probable.
    weights["model.embed_tokens.weight"][:, 0] = 3.0
    head[:, 0] = 0.0
    for digit, more in zip("12345", (0.0, 0.1, 0.2, 0.3, 0.1), strict=True):
        head[tokenizer.convert_tokens_to_ids(digit), 0] = strength + more / 4
    norm[0] = 4.0
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def config(model: Path, **more: Any) -> JudgeConfig:
    local = {"model": model.name, "dtype": "float32", **more.pop("local", {})}
    return JudgeConfig(
        **{
            "backend": "local",
            "local": local,
            "max_undecided_share": 1.0,
            "min_rating_mass": 0.2,
            "checks": {"probes": 0},
            **more,
        }
    )


def run(
    model: Path, folder: Path, rows: list[Row], earlier: Any = None, **more: Any
) -> tuple[Outcome, list[dict[str, Any]]]:
    made: Dataset = dataset(rows, folder / "in")
    ctx = StageContext(
        folder / "out", model.parent, folder / "cache", {"judge_row_cache": earlier} if earlier else {}, "code",
        scrubbed=True,
    )  # fmt: skip
    outcome = judge(made, config(model, **more), ctx)
    return outcome, pq.read_table(folder / "out" / "verdicts.parquet").to_pylist()


def test_scores_are_the_expected_ratings(model: Path, tmp_path: Path) -> None:
    outcome, verdicts = run(model, tmp_path, ROWS)
    assert [v["backend"] for v in verdicts] == ["local", "rule", "local", "local", "local"]
    assert [v["error"] for v in verdicts] == [None] * 5
    for verdict in (v for v in verdicts if v["backend"] == "local"):
        said = json.loads(verdict["probabilities"])
        assert list(said) == [c for c in ("accuracy", "clarity", "completeness", "relevance") if verdict[c] is not None]
        for criterion, rating in said.items():
            p, mass = rating["ratings"], rating["mass"]
            assert sum(p) == pytest.approx(mass, abs=1e-5) and 0.2 < mass <= 1
            assert verdict[criterion] == pytest.approx(sum((i + 1) * q for i, q in enumerate(p)) / mass, abs=1e-3)
            entropy = -sum(q / mass * math.log(q / mass) for q in p if q)
            assert rating["entropy"] == pytest.approx(entropy, abs=1e-3)
    assert verdicts[2]["relevance"] is None and verdicts[1]["probabilities"] is None
    empty = next(t for t in outcome.report.tables if t.title == "An empty row")
    assert {row[1] for row in empty.rows} == {"relevance", "clarity", "completeness", "accuracy"}
    assert "rubric quality 1" in outcome.report.notes[0] and "float32" in outcome.report.notes[0]


@pytest.mark.slow
def test_drift_is_measured_without_being_asked_for(model: Path, tmp_path: Path) -> None:
    def drift(name: str, **more: Any) -> list[tuple[Any, ...]]:
        (tmp_path / name).mkdir()
        if (tmp_path / "last").exists():
            (tmp_path / "last" / "cache").rename(tmp_path / name / "cache")
            (tmp_path / "last").rmdir()
        outcome, _ = run(model, tmp_path / name, ROWS, **{"checks": {}, **more})
        (tmp_path / "last").mkdir()
        (tmp_path / name / "cache").rename(tmp_path / "last" / "cache")
        return [line for t in outcome.report.tables if t.title == "Drift on the probe rows" for line in t.rows]

    assert drift("a") == []
    # Nothing is read, so that no model is loaded for the probes alone.
    assert drift("b") == []
    (line,) = drift("c", instructions="Be strict.")
    assert line[0] == model.name and line[2:4] == ("weights, libraries or prompt", 20) and line[4] != 0
    (same,) = drift("d", checks={"probes": 20}, instructions="Be strict.")
    assert same[2:] == ("nothing", 20, 0.0, 0.0, 0.0, 0)


@pytest.mark.slow
def test_neither_order_nor_what_is_known_changes_a_verdict(model: Path, tmp_path: Path) -> None:
    first, verdicts = run(model, tmp_path / "a", ROWS)
    _, backwards = run(model, tmp_path / "b", ROWS[::-1])
    assert sorted(map(str, verdicts)) == sorted(map(str, backwards))
    # Known to the earlier run; and to the machine, after its row cache is lost.
    again, known = run(model, tmp_path / "c", ROWS, first.artifacts["judge_row_cache"])
    assert [{**v, "cached": False} for v in known] == verdicts and not again.report.counts.get("rows")
    (tmp_path / "d").mkdir()
    (tmp_path / "a" / "cache").rename(tmp_path / "d" / "cache")
    durable, same = run(model, tmp_path / "d", ROWS)
    assert same == verdicts and "read by the model" not in durable.report.counts["rows"]
    # A byte of what the machine knows is another one: that row is read anew.
    file = tmp_path / "d" / "cache" / "judge_probabilities.sqlite"
    with closing(sqlite3.connect(file)) as db:
        (raw,) = db.execute("SELECT vector FROM vectors ORDER BY key LIMIT 1").fetchone()
    file.write_bytes(file.read_bytes().replace(raw, bytes([raw[0] ^ 1]) + raw[1:]))
    for name, counted in (("e", {"damaged in the cache": 1, "read by the model": 1}), ("f", {})):
        (tmp_path / name).mkdir()
        file.parent.rename(tmp_path / name / "cache")
        file = tmp_path / name / "cache" / file.name
        healed, same = run(model, tmp_path / name, ROWS)
        assert same == verdicts
        assert {k: n for k, n in healed.report.counts["rows"].items() if k in counted or "read" in k} == counted


@pytest.mark.slow
def test_a_judge_that_says_no_ratings_decides_nothing(model: Path, tmp_path: Path) -> None:
    outcome, verdicts = run(model, tmp_path, ROWS[:1], min_rating_mass=0.9999)
    assert verdicts[0]["error"] == "low_rating_mass" and verdicts[0]["probabilities"]
    assert verdicts[0]["error_detail"].startswith("relevance: a rating is said with probability 0.")
    assert outcome.report.quarantined == 1
    with pytest.raises(ServiceError, match="1 low_rating_mass"):
        run(model, tmp_path / "b", ROWS[:1], min_rating_mass=0.9999, max_undecided_share=0.5)


@pytest.mark.slow
def test_what_the_model_cant_read_is_undecided(model: Path, tmp_path: Path) -> None:
    long = chat("Why?", "because it is so " * 600)
    _, verdicts = run(model, tmp_path, [ROWS[0], long, chat("Why?", "x" * 1_000_000)], max_chars=20_000)
    assert [v["error"] for v in verdicts] == [None, "too_long", "too_long"]
    assert verdicts[1]["error_detail"] == "the model reads 2048 tokens"


@pytest.mark.slow
def test_its_liking_for_numbers_can_be_taken_out(model: Path, tmp_path: Path) -> None:
    shown = run(model, tmp_path / "a", ROWS[:1])[1][0]
    outcome, (without,) = run(model, tmp_path / "b", ROWS[:1], empty_row_prior="taken_out")
    assert without["probabilities"] == shown["probabilities"] and without["clarity"] != shown["clarity"]
    empty = {row[1]: row[2:7] for t in outcome.report.tables if t.title == "An empty row" for row in t.rows}
    said = json.loads(shown["probabilities"])["clarity"]["ratings"]
    parts = [p / q for p, q in zip(said, empty["clarity"], strict=True)]
    assert without["clarity"] == pytest.approx(sum((i + 1) * p for i, p in enumerate(parts)) / sum(parts), abs=1e-2)


def test_calibration_by_hand() -> None:
    rating, prior = Rating((0.1, 0.1, 0.2, 0.2, 0.2)), Rating((0.05, 0.05, 0.1, 0.1, 0.2))
    assert rating.mass == pytest.approx(0.8) and rating.score == pytest.approx(3.375)
    assert rating.without(prior).shares == pytest.approx([2 / 9, 2 / 9, 2 / 9, 2 / 9, 1 / 9])
    assert rating.without(prior).mass == pytest.approx(0.8) and rating.without(rating).score == pytest.approx(3.0)
    assert Rating((0.0, 0.0, 0.9, 0.0, 0.0)).entropy == 0 and Rating((0.1,) * 5).entropy == pytest.approx(math.log(5))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backend": "local"}, "backend local needs a model"),
        ({"local": {"model": "m"}}, "local is set, but backend is heuristic"),
        ({"backend": "local", "local": {"model": "models:/m/3", "revision": "main"}}, "says which version"),
        ({"rubric": "safety"}, "fixed signals know the rubric quality only"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        JudgeConfig(**settings)


def test_models_that_arent_there(model: Path, tmp_path: Path) -> None:
    for name, error in (("models:/judge/3", ConfigError), ("./nowhere", InputNotFoundError)):
        with pytest.raises(error):
            run(model, tmp_path / name[-3:], ROWS[:1], local={"model": name})


def test_weights_rubric_and_format_are_in_what_is_kept(model: Path, tmp_path: Path) -> None:
    from steps.engines.rubric.reading import read_rubric
    from steps.judge.local_judge import LocalJudge

    def digest(**more: Any) -> str:
        made = config(model, **more)
        assert made.local is not None
        ctx = StageContext(tmp_path, model.parent)
        return LocalJudge(made, made.local, read_rubric(made.rubric), ctx).digest

    told = [{}, {"rubric": "safety"}, {"instructions": "Lamps."}, {"local": {"dtype": "bfloat16"}}]
    digests = {digest(**t) for t in told}
    weights = (model / "model.safetensors").read_bytes()
    try:
        nudge(model, 0.5)
        digests.add(digest())
    finally:
        (model / "model.safetensors").write_bytes(weights)
    assert len(digests) == 5 and digest() in digests


@pytest.mark.skipif(not hasattr(torch, "bfloat16"), reason="no bfloat16")
@pytest.mark.slow
def test_half_precision_comes_to_nearly_the_same(model: Path, tmp_path: Path) -> None:
    whole = run(model, tmp_path / "a", ROWS[:1])[1][0]
    half = run(model, tmp_path / "b", ROWS[:1], local={"dtype": "bfloat16"})[1][0]
    assert half["share"] == pytest.approx(whole["share"], abs=0.05)
