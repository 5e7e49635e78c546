"""What a step of training is given, as it is shown beforehand, against what the trainer was really given."""

import numpy as np
import pytest
from support.preferences import labelled, pair
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import ConfigError
from steps.contracts.records import make_row
from steps.engines.template.render import encode
from steps.train.config import TrainConfig
from steps.train.train import train
from steps.train.watching.preview import preview

BASE = {
    "max_steps": 4, "per_device_train_batch_size": 3, "logging_steps": 100, "save_steps": 100, "max_length": 64,
    "weights": {"kind": "full"},
}  # fmt: skip
# Of lengths that differ, in fewer rows than four steps take: the last steps are of a second pass over them.
ROWS = [tiny_row(i, answer="word " * (1 + 3 * i % 8)) for i in range(10)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("rows"), ROWS)


@pytest.fixture
def given(monkeypatch):
    """Every forward pass of a training: (optimizer step, its columns)."""
    from steps.train.objectives.sft_trainer import SftTrainer

    seen, real = [], SftTrainer.training_step

    def spied(self, model, inputs, *args, **more):
        columns = {k: v.numpy().copy() for k, v in inputs.items() if hasattr(v, "numpy")}
        seen.append((self.state.global_step + 1, columns))
        return real(self, model, inputs, *args, **more)

    monkeypatch.setattr(SftTrainer, "training_step", spied)
    return seen


def flat(line):
    """Ids and trained flags of a line, without padding."""
    return (
        np.concatenate([s.input_ids for s in line.spans]).tolist(),
        np.concatenate([s.trained for s in line.spans]).tolist(),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({}, 1),
        pytest.param({"group_by_length": True}, 4, marks=pytest.mark.slow),
        pytest.param({"gradient_accumulation_steps": 2, "seed": 7}, 2, marks=pytest.mark.slow),
        pytest.param(
            {"objective": {"kind": "sft", "packing": "bfd"}, "per_device_train_batch_size": 1},
            2,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"objective": {"kind": "sft", "packing": "wrapped"}, "per_device_train_batch_size": 2, "max_length": 40},
            3,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["padded", "by length, second epoch", "accumulated", "bfd", "wrapped"],
)
def test_the_shown_batch_is_the_one_that_training_is_given(tmp_path, tiny_model, dataset, given, settings, step):
    config = TrainConfig.model_validate({**BASE, **settings})
    shown = preview(tiny_model, dataset, config, tmp_path / "shown", step)
    train(tiny_model, dataset, config, tmp_path / "run", tmp_path / "checkpoints")
    really = [columns for s, columns in given if s == step]
    assert len(shown.passes) == len(really) == settings.get("gradient_accumulation_steps", 1)
    for lines, columns in zip(shown.passes, really, strict=True):
        assert len(lines) == len(columns["input_ids"])
        for i, line in enumerate(lines):
            mask = columns["attention_mask"][i] if "attention_mask" in columns else np.ones_like(columns["labels"][i])
            ids, labels = columns["input_ids"][i][mask > 0], columns["labels"][i][mask > 0]
            assert flat(line) == (ids.tolist(), (labels != -100).tolist())
            assert (line.left, line.right) == (0, int((mask == 0).sum()))


@pytest.mark.slow
def test_every_token_is_of_the_row_that_is_named_and_borders_are_where_rows_meet(tmp_path, tiny_model, dataset):
    """The judge: the rows encoded one by one, by the tokenizer alone."""
    config = TrainConfig.model_validate({**BASE, "objective": {"kind": "sft", "packing": "wrapped"}, "max_length": 40})
    shown = preview(tiny_model, dataset, config, tmp_path, 1)
    judge = {r["record_id"]: encode(shown.tokenizer, r)[0].input_ids for r in dataset.iter_rows()}
    spans = [s for lines in shown.passes for line in lines for s in line.spans]
    assert len({s.row for s in spans}) > 1
    assert any(s.cut_before for s in spans)
    for span in spans:
        own = judge[shown.encoding.record_id(span.row)]
        assert span.whole == len(own)
        assert span.input_ids.tolist() == own[span.start : span.start + len(span.input_ids)]


@pytest.mark.slow
def test_rows_that_are_left_out_or_cut_are_named(tmp_path, tiny_model):
    rows = [tiny_row(0), tiny_row(1, answer="word " * 40), tiny_row(2, answer="")]
    dataset = tiny_dataset(tmp_path / "rows", rows)
    cut = TrainConfig.model_validate({**BASE, "overlong": "truncate"})
    lines = preview(tiny_model, dataset, cut, tmp_path / "cut").ledger.read().select(["record_id", "reason"])
    assert sorted(lines.to_pylist(), key=lambda x: x["reason"]) == [
        {"record_id": rows[2]["record_id"], "reason": "blank_answer"},
        {"record_id": rows[1]["record_id"], "reason": "truncated"},
    ]
    found = preview(tiny_model, dataset, TrainConfig.model_validate(BASE), tmp_path / "dropped")
    assert found.encoding.dropped_by == {"blank_answer": 1, "overlong": 1}
    assert found.refusal.startswith("1 of 3 rows")


def test_a_step_that_training_has_not_is_refused(tmp_path, tiny_model, dataset):
    with pytest.raises(ConfigError, match="training has 4 steps"):
        preview(tiny_model, dataset, TrainConfig.model_validate(BASE), tmp_path, 5)


@pytest.mark.slow
def test_what_is_drawn_before_training_leaves_torch_as_it_was(tmp_path, tiny_model, dataset):
    import torch

    before = torch.random.get_rng_state()
    preview(tiny_model, dataset, TrainConfig.model_validate(BASE), tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


def documents(number):
    return make_row(
        kind="document", source="d", locator=str(number), raw=str(number).encode(),
        text=f"Document {number} is about {number}. " * (1 + number % 2),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "row", "parts"),
    [
        ("dpo", pair, {"chosen", "rejected"}),
        ("orpo", pair, {"chosen", "rejected"}),
        ("kto", lambda i: labelled(i, i % 2 == 0), {""}),
        ("continued_pretraining", documents, {""}),
    ],
)
def test_every_objective_shows_whose_tokens_a_step_is_given(tmp_path, tiny_model, kind, row, parts):
    """The judge: the text of a span is in the row that it is said to be of, on the side that it is said to be of."""
    rows = [row(i) for i in range(8)]
    config = TrainConfig.model_validate({**BASE, "objective": {"kind": kind}, "max_length": 128})
    shown = preview(tiny_model, tiny_dataset(tmp_path / "rows", rows), config, tmp_path / "out")
    by_id = {r["record_id"]: r for r in rows}
    spans = [s for lines in shown.passes for line in lines for s in line.spans]
    assert {s.part for s in spans} == parts
    assert any(s.trained.any() for s in spans)
    for span in spans:
        row = by_id[shown.encoding.record_id(span.row)]
        trained = shown.tokenizer.decode(span.input_ids[span.trained], skip_special_tokens=True)
        side = row.get(span.part) or row["messages"]
        said = row["text"] or side[-1]["content"]
        assert trained.strip() in said
        assert trained or (kind == "kto" and not span.trained.any())
