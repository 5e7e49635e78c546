"""Mixtures: how often rows of a source are seen, counted in what the trainer is given."""

import numpy as np
import pytest
from pydantic import ValidationError
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import TrainingDataError
from steps.contracts.ledger import LedgerWriter
from steps.engines.lm.load import load_tokenizer
from steps.engines.template.config import TemplateConfig
from steps.train.config import TrainConfig
from steps.train.mixture import Share, draws_of, hash_of, mixed, times_of
from steps.train.train import encode_rows, train

COMMON = {"learning_rate": 3e-3, "max_steps": 2, "per_device_train_batch_size": 8, "max_length": 128}


def rows(count: int = 60) -> list:
    """A third of them of `chat`, the others of `faq`, in two files."""
    return [{**tiny_row(i), "source": ("chat/a.jsonl", "faq/a.jsonl", "faq/b.jsonl")[i % 3]} for i in range(count)]


def encoded(folder, model, mixture, given=None, seed=42):
    """What the trainer would be given, as (source, first message) per sequence, and the ledger's lines."""
    dataset = tiny_dataset(folder / "d", given or rows())
    config = TrainConfig.model_validate({**COMMON, "rows": {"mixture": mixture}, "seed": seed})
    tokenizer = load_tokenizer(model)
    got, ledger = encode_rows(dataset, tokenizer, TemplateConfig(), config, folder / "t", folder, None)
    return [tuple(ids) for ids in got.train["input_ids"]], got, ledger


def seen(sequences, tokenizer, given) -> dict[str, list[int]]:
    """How often each row of a source is seen, found by its text."""
    texts = [tokenizer.decode(ids) for ids in sequences]
    found: dict[str, list[int]] = {}
    for row in given:
        times = sum(row["messages"][0]["content"] + "<" in text for text in texts)
        found.setdefault(row["source"].partition("/")[0], []).append(times)
    return found


@pytest.mark.parametrize(
    ("mixture", "expected"),
    [
        ({}, {"chat": [1] * 20, "faq": [1] * 40}),
        ({"chat": 3}, {"chat": [3] * 20, "faq": [1] * 40}),
        ({"faq": 0.25}, {"chat": [1] * 20, "faq": [0] * 30 + [1] * 10}),
        ({"chat": 2.5, "faq": 0.5}, {"chat": [2] * 10 + [3] * 10, "faq": [0] * 20 + [1] * 20}),
        # A fifth of an epoch: of 40 rows of the other source, 10.
        ({"chat": {"share": 0.2}}, {"chat": [0] * 10 + [1] * 10, "faq": [1] * 40}),
        # Half of an epoch: each of 20 rows twice beside 40.
        ({"chat": {"share": 0.5}}, {"chat": [2] * 20, "faq": [1] * 40}),
    ],
    ids=lambda given: str(given) if set(map(type, given.values())) != {list} else "",
)  # fmt: skip
def test_rows_of_a_source_are_seen_as_often_as_the_mixture_says(tmp_path, tiny_model, mixture, expected):
    sequences, got, ledger = encoded(tmp_path, tiny_model, mixture)
    counted = seen(sequences, load_tokenizer(tiny_model), rows())
    assert {name: sorted(times) for name, times in counted.items()} == expected
    left_out = sum(times.count(0) for times in expected.values())
    assert got.encoding.rows_in == 60
    assert got.encoding.dropped_by == ({"mixture": left_out} if left_out else {})
    assert ledger.read()["reason"].to_pylist() == ["mixture"] * left_out


def test_the_same_rows_are_left_out_in_any_order_and_more_of_them_by_a_smaller_share(tmp_path, tiny_model):
    half, _, _ = encoded(tmp_path / "1", tiny_model, {"faq": 0.5})
    other_order, _, _ = encoded(tmp_path / "2", tiny_model, {"faq": 0.5}, list(reversed(rows())))
    fewer, _, _ = encoded(tmp_path / "3", tiny_model, {"faq": 0.25})
    other_seed, _, _ = encoded(tmp_path / "4", tiny_model, {"faq": 0.5}, seed=7)
    assert half == other_order
    assert set(fewer) < set(half)
    assert len(other_seed) == len(half) and set(other_seed) != set(half)


def test_draws_are_uniform_and_differ_by_seed():
    hashes = np.array([hash_of(f"{i:016x}") for i in range(4096)], np.uint64)
    draws = draws_of(hashes, 1)
    halves = (draws >> 63).mean()
    assert 0.47 < halves < 0.53
    assert (draws != draws_of(hashes, 2)).all()


@pytest.mark.parametrize(
    ("amounts", "message"),
    [({"wiki": 2.0}, "no rows of source wiki: there are chat, faq"),
     ({"chat": Share(share=0.6), "faq": Share(share=0.4)}, "need rows beside them"),
     ({"chat": Share(share=0.6), "faq": Share(share=0.1)}, "the other sources have 0 rows")],
    ids=str,
)  # fmt: skip
def test_amounts_that_can_not_be(amounts, message):
    with pytest.raises(TrainingDataError, match=message):
        times_of(amounts, {"chat": 20, "faq": 40, "none": 0})


def test_two_shares_leave_the_rest_its_own():
    times = times_of({"chat": Share(share=0.25), "faq": Share(share=0.25)}, {"chat": 10, "faq": 100, "own": 50})
    assert times == {"chat": 2.5, "faq": 0.25}


@pytest.mark.parametrize("amount", [0, -1, {"share": 0}, {"share": 1}, {"shares": 0.1}], ids=str)
def test_amounts_that_are_none(amount):
    with pytest.raises(ValidationError):
        TrainConfig.model_validate({"rows": {"mixture": {"chat": amount}}})


def test_rows_of_other_splits_are_not_touched(tmp_path):
    dataset = tiny_dataset(tmp_path / "d", rows(), validation=12)
    with LedgerWriter(tmp_path / "l.parquet", "train") as writer:
        kept, mixture = mixed(dataset, "train", {"faq": 0.5}, 42, writer)
    assert kept.manifest.splits["validation"] == 12
    assert kept.manifest.splits["train"] == 48 - mixture.left_out
    assert mixture.left_out > 10


@pytest.mark.slow
def test_the_report_has_a_row_for_each_source(tmp_path, tiny_model):
    dataset = tiny_dataset(tmp_path / "d", rows(), validation=12)
    config = TrainConfig.model_validate({**COMMON, "rows": {"mixture": {"chat": {"share": 0.5}}}})
    report = train(tiny_model, dataset, config, tmp_path / "out", tmp_path / "checkpoints").report
    table = next(t for t in report.tables if t.title == "By source")
    by_source = {row[0]: row[1:] for row in table.rows}
    assert list(by_source) == ["chat", "faq"]
    assert by_source["chat"][1] == by_source["faq"][1] == by_source["faq"][0]
    assert sum(row[2] for row in by_source.values()) == pytest.approx(1)
    outcome = dict(next(t for t in report.tables if t.title == "Outcome").rows)
    for at, when in ((3, "before"), (4, "after")):
        losses = sorted(row[at] for row in by_source.values())
        assert losses[0] < outcome[f"validation loss {when}"] < losses[1]
    assert report.counts["training"]["sequences"] == 2 * by_source["faq"][0]
