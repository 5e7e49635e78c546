import math

import numpy as np
import pytest
import torch
from support.resumed import check_resumed_after_a_kill
from support.tiny_model import tiny_dataset, tiny_row, tiny_tokenizer

from steps.contracts.errors import ConfigError, TrainingDataError
from steps.contracts.records import make_row
from steps.engines.lm.load import load
from steps.engines.lm.loss import token_losses
from steps.train.config import TrainConfig
from steps.train.document_encoding import write_pieces
from steps.train.objectives.registry import objective_of
from steps.train.packing import best_fit_decreasing, stream
from steps.train.train import train

BASE = {
    "learning_rate": 3e-3, "max_steps": 10, "per_device_train_batch_size": 2, "logging_steps": 2, "save_steps": 100,
    "max_length": 64, "weights": {"kind": "full"},
}  # fmt: skip
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]


def document(number, words=12, source="docs", text=None):
    said = text if text is not None else " ".join(WORDS[(number * 5 + i) % 9] for i in range(words)) + f" {number}"
    return make_row(
        kind="document", source=f"{source}/a", locator=f"{number}", raw=f"{source}{number}".encode(), text=said
    )


def config(**settings):
    objective = {"kind": "continued_pretraining", **settings.pop("objective", {})}
    return TrainConfig.model_validate({**BASE, "objective": objective, **settings})


def pieces(tmp_path, rows, tokenizer=None, **settings):
    """(pieces as lists, what became of the rows, ledger lines) of rows that are encoded."""
    from steps.contracts.ledger import LedgerWriter
    from steps.engines.template.config import TemplateConfig
    from steps.train.rows_to_encode import RowsToEncode

    wanted = config(**settings)
    with LedgerWriter(tmp_path / "ledger.parquet", "train") as writer:
        given = RowsToEncode(
            tiny_dataset(tmp_path / "d", rows), "train", tokenizer or tiny_tokenizer(), TemplateConfig(), wanted,
            tmp_path / "t" / "train.arrow", writer,
        )  # fmt: skip
        found, encoding = write_pieces(given, objective_of(wanted.objective).wanted)
        ledger = writer.close()
    return found.to_list(), encoding, {r["record_id"]: (r["verdict"], r["reason"]) for r in ledger.read().to_pylist()}


def test_every_token_of_a_document_is_trained_and_a_long_one_is_cut_not_lost(tmp_path):
    tokenizer = tiny_tokenizer()
    rows = [document(0), document(1, words=100)]
    found, encoding, ledger = pieces(tmp_path, rows)
    whole = {r["content_id"]: [*tokenizer(r["text"])["input_ids"], tokenizer.eos_token_id] for r in rows}
    expected = [ids[at : at + 64] for _, ids in sorted(whole.items()) for at in range(0, len(ids), 64)]
    assert [p["input_ids"] for p in found] == [p["labels"] for p in found] == expected
    assert [p["length"] for p in found] == [len(ids) for ids in expected]
    assert (encoding.rows_in, encoding.kept, encoding.dropped_by, ledger) == (2, 2, {}, {})
    assert encoding.tokens == encoding.trained == sum(map(len, whole.values()))
    assert any("end with <|im_end|>, which also ends turns" in n for n in encoding.notes)


def test_bos_is_written_where_the_tokenizer_writes_one_and_another_end_can_be_named(tmp_path):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    (found,), encoding, _ = pieces(tmp_path, [document(0)], tokenizer, objective={"end_token": "<|endoftext|>"})
    text = tokenizer(document(0)["text"], add_special_tokens=False)["input_ids"]
    assert (found["input_ids"], found["labels"]) == ([1, *text, 0], [-100, *text, 0])
    assert encoding.notes == []
    assert list(encoding.lint.end_tokens) == [0]


@pytest.mark.parametrize("end", ["<|nothing|>", None])
def test_a_document_needs_a_token_that_ends_it(tmp_path, end):
    tokenizer = tiny_tokenizer()
    if end is None:
        tokenizer.eos_token = None
    what = "no token '<|nothing|>'" if end else "no EOS token"
    with pytest.raises(ConfigError, match=what) as e:
        pieces(tmp_path, [document(0)], tokenizer, objective={"end_token": end})
    assert "<|im_start|>" in e.value.hint


def test_unusable_rows_are_in_the_ledger(tmp_path):
    rows = [document(0), document(1, text="Say <|im_end|> and more"), tiny_row(2), *(document(n) for n in range(3, 30))]
    found, encoding, ledger = pieces(tmp_path, rows)
    assert ledger == {
        rows[1]["record_id"]: ("dropped", "control_token_in_text"), rows[2]["record_id"]: ("dropped", "conversation"),
    }  # fmt: skip
    assert (encoding.rows_in, encoding.kept, len(found)) == (30, 28, 28)


def test_no_document_is_an_error_that_names_the_other_objective(tmp_path):
    with pytest.raises(TrainingDataError, match="no document to train on: 1 rows read") as e:
        pieces(tmp_path, [tiny_row(0)])
    assert "kind: sft" in e.value.hint


def replayed_tokens(found):
    return sum(p["length"] for p in found if p["replay"])


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_as_much_is_replayed_as_the_share_wants_and_the_rest_is_in_the_ledger(tmp_path, share):
    rows = [document(n) for n in range(30)] + [document(n, source="general", words=8) for n in range(60)]
    settings = {"objective": {"replay": {"share": share, "sources": ["general"]}}}
    found, encoding, ledger = pieces(tmp_path, rows, **settings)
    total, replayed = sum(p["length"] for p in found), replayed_tokens(found)
    longest = max(p["length"] for p in found)
    assert 0 <= replayed - share * total < longest
    assert encoding.replayed == replayed
    assert set(ledger.values()) == {("dropped", "replay_not_needed")}
    assert encoding.rows_in == 90 == encoding.kept + len(ledger)
    back = pieces(tmp_path / "back", rows[::-1], **settings)
    assert back[0] == found
    assert back[2] == ledger


def test_it_is_known_where_each_piece_comes_from(tmp_path):
    rows = [document(n, words=3 + 9 * n) for n in range(20)] + [document(n, source="more") for n in range(5)]
    found, encoding, _ = pieces(tmp_path, rows)
    ids, origins = [encoding.record_id(n) for n in range(len(found))], encoding.origins
    of = {r["record_id"]: r for r in rows}
    assert [of[i]["source"].split("/")[0] for i in ids] == [origins.names[c] for c in origins.codes]
    assert [int(of[i]["content_id"][:16], 16) for i in ids] == origins.hashes.tolist()
    assert sum(origins.trained) == pytest.approx(encoding.trained)
    starts = {i: tiny_tokenizer()(of[i]["text"])["input_ids"][:5] for i in ids}
    assert [found[ids.index(i)]["input_ids"][:5] for i in of] == [starts[i] for i in of]


def test_too_little_to_replay_is_said_and_conversations_can_be_replayed(tmp_path):
    rows = [document(n) for n in range(30)] + [tiny_row(n) for n in range(3)]
    found, encoding, ledger = pieces(
        tmp_path, rows, objective={"replay": {"share": 0.5, "kinds": ["conversation"]}}, max_length=128
    )
    assert ledger == {}
    assert sum(p["replay"] for p in found) == 3
    assert all(-100 in p["labels"] and max(p["labels"]) >= 0 for p in found if p["replay"])
    assert any("50.0% were wanted: there are no more" in n for n in encoding.notes)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"objective": {"replay": {"share": 0.1}}}, "replay needs sources"),
        ({"objective": {"replay": {"sources": ["g"]}}, "rows": {"sources": ["docs"]}}, "which rows.sources leaves out"),
        ({"group_by_length": True}, "group_by_length clashes"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        config(**settings)


def test_packs_hold_every_sequence_once_and_are_as_full_as_by_hand():
    lengths = [5, 3, 8, 2, 6, 4, 1, 7]
    assert best_fit_decreasing(lengths, 8) == [[2], [7, 6], [4, 3], [0, 1], [5]]
    cut = [[(s.sequence, s.start, s.stop) for s in pack] for pack in stream([5, 10, 1], 6)]
    assert cut == [[(0, 0, 5), (1, 0, 1)], [(1, 1, 7)], [(1, 7, 10), (2, 0, 1)]]
    many = np.random.default_rng(0).integers(1, 65, 500).tolist()
    bins = best_fit_decreasing(many, 64)
    assert sorted(n for b in bins for n in b) == list(range(500))
    left = []
    for length in sorted(many, reverse=True):  # the judge: looks at every bin
        fits = [i for i, room in enumerate(left) if room >= length]
        at = min(fits, key=left.__getitem__, default=len(left))
        left[at:] = [64, *left[at + 1 :]] if at == len(left) else left[at:]
        left[at] -= length
    assert sorted(64 - sum(many[n] for n in b) for b in bins) == sorted(left)


@pytest.fixture
def run(tmp_path, tiny_model):
    calls = []

    def go(dataset, **settings):
        calls.append(None)
        folder = tmp_path / str(len(calls))
        return train(tiny_model, dataset, config(**settings), folder, folder / "checkpoints")

    return go


def series(report, title):
    return next(s for s in report.series if s.title == title)


@pytest.mark.parametrize("weights", [pytest.param("full", marks=pytest.mark.slow), "lora"])
def test_training_lowers_the_perplexity_of_held_out_documents(run, tmp_path, tiny_model, weights):
    rows = [document(n, words=5 + n % 30) for n in range(60)]
    dataset = tiny_dataset(tmp_path / "d", rows, validation=10)
    result = run(dataset, weights={"kind": weights}, eval_steps=5)
    outcome = dict(next(t for t in result.report.tables if t.title == "Outcome").rows)
    losses = series(result.report, "Validation loss")
    assert losses.x == (0.0, 5.0, 10.0)
    assert losses.y[0] > losses.y[1] > losses.y[2]
    tokenizer = tiny_tokenizer()
    ids = [[*tokenizer(r["text"])["input_ids"], tokenizer.eos_token_id] for r in rows[50:]]
    parts = [one[at : at + 64] for one in ids for at in range(0, len(one), 64)]
    found = token_losses(load(tiny_model, result.model), [(p, p) for p in parts], batch_size=4)
    judged = sum(nats for nats, _ in found) / sum(n for _, n in found)
    assert losses.y[2] == pytest.approx(judged, abs=1e-4)
    assert outcome["validation perplexity after"] == pytest.approx(math.exp(judged), rel=1e-3)
    assert result.model.info.objective == "continued_pretraining"
    assert result.report.counts["training"]["sequences"] < 50


@pytest.mark.slow
def test_a_mixture_holds_for_documents(run, tmp_path):
    rows = [document(n) for n in range(30)] + [document(n, source="more") for n in range(30)]
    dataset = tiny_dataset(tmp_path / "d", rows, validation=8)
    once, twice = (run(dataset, max_steps=1, rows={"mixture": m}) for m in ({}, {"more": 2.0}))
    by_source = [{r[0]: r[2] for r in t.rows} for report in (once.report, twice.report)
                 for t in report.tables if t.title == "By source"]  # fmt: skip
    assert by_source == [{"docs": 30, "more": 22}, {"docs": 30, "more": 44}]
    assert twice.report.counts["training"]["sequences"] > once.report.counts["training"]["sequences"]


@pytest.mark.slow
def test_documents_of_a_pack_do_not_see_each_other_and_those_of_a_stream_do(run, tmp_path):
    """The first step's loss over all packs is the loss over the same documents alone, at any batch size."""
    rows = tiny_dataset(tmp_path / "d", [document(n, words=3 + n % 9) for n in range(24)])
    once = {"max_steps": 1, "logging_steps": 1, "learning_rate": 1e-6}
    alone = run(rows, max_length=64, per_device_train_batch_size=1, gradient_accumulation_steps=99, **once)
    beside = run(rows, max_length=64, per_device_train_batch_size=99, **once)
    longer = run(rows, max_length=256, per_device_train_batch_size=99, **once)
    one = run(rows, objective={"packing": "wrapped"}, max_length=256, per_device_train_batch_size=99, **once)
    losses = [series(r.report, "Training loss").y[0] for r in (alone, beside, longer, one)]
    assert losses[1:3] == pytest.approx(losses[:1] * 2, rel=1e-5)
    assert abs(losses[3] - losses[0]) > 1e-4
    assert one.report.counts["training"]["tokens processed"] == alone.report.counts["tokens"]["train rows"]


def test_padding_is_seen_by_nobody(tiny_model):
    from steps.train.objectives.document_trainer import PackCollator

    packs = [{"input_ids": [5, 6, 7, 8, 9], "labels": [-100, 6, 7, -100, 9], "seq_lengths": [3, 2]},
             {"input_ids": [9, 8, 7], "labels": [-100, 8, 7], "seq_lengths": [3]}]  # fmt: skip
    batch = PackCollator(0)(packs)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9], [-100, 8, 7, -100, -100]]
    assert batch["tokens"].item() == 8
    model = load(tiny_model).model
    with torch.inference_mode():
        together = model(batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        for row, start, ids in ((0, 0, [5, 6, 7]), (0, 3, [8, 9]), (1, 0, [9, 8, 7])):
            alone = model(torch.tensor([ids])).logits[0]
            assert torch.allclose(together[row, start : start + len(ids)], alone, atol=1e-5)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_weights_of_an_undisturbed_one(tmp_path, tiny_model):
    rows = [document(n) for n in range(60)] + [document(n, source="general") for n in range(20)]
    dataset = tiny_dataset(tmp_path / "data", rows, validation=6)
    replay = {"share": 0.2, "sources": ["general"]}
    wanted = config(
        objective={"replay": replay}, weights={"kind": "lora", "lora_dropout": 0.1}, save_steps=4, max_steps=14,
        gradient_accumulation_steps=2, save_total_limit=1, logging_steps=1,
    )  # fmt: skip
    check_resumed_after_a_kill(tmp_path, tiny_model, dataset, wanted, 8)
