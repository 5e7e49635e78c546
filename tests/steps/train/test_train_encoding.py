import multiprocessing
import random

import pyarrow as pa
import pytest
from support.tiny_model import tiny_dataset, tiny_row, tiny_tokenizer

from steps.contracts.errors import TrainingDataError
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import SCHEMA, message
from steps.engines.execution.processes import Processes
from steps.engines.template.config import TemplateConfig
from steps.engines.template.render import chat_template, encode
from steps.train import encoding
from steps.train.config import TrainConfig
from steps.train.encoding import split_name
from steps.train.objectives.registry import objective_of
from steps.train.rows_to_encode import RowsToEncode
from steps.train.token_cache import Means

TOKENIZER = tiny_tokenizer()


def tokens_of(folder, rows, ledger=None, limit=None, means=None, **settings):
    dataset = tiny_dataset(folder, rows)
    config = TrainConfig.model_validate(settings)
    objective = objective_of(config.objective)
    return objective.encode(
        RowsToEncode(dataset, "train", TOKENIZER, TemplateConfig(), config, folder / "t.arrow", ledger, limit, means)
    )


def preference(number):
    turns = {"chosen": [message("assistant", "good")], "rejected": [message("assistant", "bad")]}
    return tiny_row(number, kind="preference", messages=[message("user", "hi")], **turns)


def document(number):
    return tiny_row(number, kind="document", messages=[], text="the lazy dog")


def test_rows_are_encoded_once_each_in_the_order_of_their_content_ids(tmp_path):
    rows = [tiny_row(i) for i in range(30)]
    expected = [encode(TOKENIZER, r)[0] for r in sorted(rows, key=lambda r: r["content_id"])]
    for attempt in range(3):
        random.Random(attempt).shuffle(rows)
        found, made = tokens_of(tmp_path / str(attempt), rows)
        assert found["input_ids"][:] == [e.input_ids for e in expected]
        assert found["labels"][:] == [e.labels for e in expected]
    assert made.kept == made.rows_in == 30
    assert made.tokens == sum(len(e.input_ids) for e in expected) == sum(found["length"])
    assert made.trained == sum(e.trained for e in expected)
    assert made.longest == max(found["length"])
    assert sum(made.length_histogram("x").counts) == 30


LONG = "blue " * 80


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_the_same_in_any_number_of_processes(tmp_path, workers):
    rows = [tiny_row(i, LONG if i % 7 == 0 else None) for i in range(23)]
    rows[5] = tiny_row(5, messages=[message("user", "hi")])
    rows[11] = document(11)
    found = []
    for name, means in (("here", None), ("processes", Means(Processes(workers, batch_rows=5)))):
        with LedgerWriter(tmp_path / f"{name}.parquet", "train") as writer:
            tokens, made = tokens_of(tmp_path / name, rows, writer, means=means, max_length=64, max_unusable_share=1)
            found.append((tokens[:], made, writer.close().read().to_pylist()))
    assert found[0] == found[1]
    assert found[0][1].dropped_by == {"overlong": 4, "no_assistant_turn": 1, "document": 1}


def test_overlong_rows_are_dropped_and_written_to_the_ledger(tmp_path):
    rows = [tiny_row(0), tiny_row(1, LONG), tiny_row(2)]
    with LedgerWriter(tmp_path / "ledger.parquet", "train") as writer:
        found, made = tokens_of(tmp_path / "d", rows, writer, max_length=64)
        ledger = writer.close()
    length = len(encode(TOKENIZER, rows[1])[0].input_ids)
    assert (made.kept, made.dropped_by, len(found)) == (2, {"overlong": 1}, 2)
    line = ledger.read().to_pylist()[0]
    assert (line["record_id"], line["verdict"], line["reason"]) == (rows[1]["record_id"], "dropped", "overlong")
    assert line["evidence"] == f'{{"max_length":64,"tokens":{length}}}'


def test_overlong_rows_are_cut_and_those_whose_prompt_fills_all_are_dropped(tmp_path):
    rows = [tiny_row(0), tiny_row(1, LONG), tiny_row(2, messages=[message("user", LONG), message("assistant", "x")])]
    with LedgerWriter(tmp_path / "ledger.parquet", "train") as writer:
        found, made = tokens_of(
            tmp_path / "d", rows, writer, max_length=64, overlong="truncate", max_unusable_share=1
        )  # fmt: skip
        ledger = writer.close()
    assert (made.kept, made.truncated, made.dropped_by) == (2, 1, {"overlong_prompt": 1})
    assert max(found["length"]) == 64
    cut = encode(TOKENIZER, rows[1])[0]
    assert [cut.input_ids[:64], cut.labels[:64]] in [[r["input_ids"], r["labels"]] for r in found]
    assert sorted(ledger.read()["reason"].to_pylist()) == ["overlong_prompt", "truncated"]


def test_overlong_fail_names_the_row(tmp_path):
    rows = [tiny_row(0), tiny_row(1, LONG)]
    with pytest.raises(TrainingDataError, match=rows[1]["record_id"]):
        tokens_of(tmp_path, rows, max_length=64, overlong="fail")


def test_documents_and_preferences_are_left_out_and_counted(tmp_path):
    rows = [tiny_row(0), preference(1), document(2)]
    found, made = tokens_of(tmp_path, rows)
    assert (made.rows_in, made.kept, len(found)) == (3, 1, 1)
    assert made.dropped_by == {"preference": 1, "document": 1}


def test_unwanted_answers_are_left_out_and_counted(tmp_path):
    rows = [tiny_row(i, kind="unpaired_preference", label=label) for i, label in enumerate((True, False, False))]
    _, made = tokens_of(tmp_path, rows)
    assert (made.kept, made.dropped_by) == (1, {"unwanted_answer": 2})


def test_chosen_answers_are_trained_when_asked(tmp_path):
    found, made = tokens_of(tmp_path, [preference(1)], objective={"preference_as": "chosen"})
    trained = [label for label in found[0]["labels"] if label >= 0]
    assert TOKENIZER.decode(trained) == "good<|im_end|>"
    assert made.dropped_by == {}


def test_unusable_rows_within_the_limit_are_dropped_above_it_they_stop_the_run(tmp_path):
    rows = [*(tiny_row(i) for i in range(19)), tiny_row(99, messages=[message("user", "hi")])]
    _, made = tokens_of(tmp_path / "a", rows)
    assert made.dropped_by == {"no_assistant_turn": 1}
    for settings in ({"max_unusable_share": 0.01}, {"unusable_rows": "fail"}):
        with pytest.raises(TrainingDataError, match=rows[-1]["record_id"]):
            tokens_of(tmp_path / str(settings), rows, **settings)


def test_no_row_left_is_an_error_that_says_why(tmp_path):
    with pytest.raises(TrainingDataError, match="'preference': 2"):
        tokens_of(tmp_path, [preference(0), preference(1)])


def test_the_limit_takes_the_smallest_content_ids(tmp_path):
    rows = [tiny_row(i) for i in range(30)]
    found, made = tokens_of(tmp_path, rows, limit=5)
    smallest = sorted(rows, key=lambda r: r["content_id"])[:5]
    assert found["input_ids"][:] == [encode(TOKENIZER, r)[0].input_ids for r in smallest]
    assert made.kept == 5


def test_unlabelled_versions_train_on_every_row_others_need_the_split(tmp_path):
    from steps.contracts.dataset import DatasetWriter

    writer = DatasetWriter(tmp_path / "bare", "ingest")
    writer.write_rows([tiny_row(0)])
    assert split_name(writer.close(), "train") is None
    labelled = tiny_dataset(tmp_path, [tiny_row(0)], validation=1)
    assert split_name(labelled, "validation") == "validation"
    with pytest.raises(TrainingDataError, match="no rows in split train"):
        split_name(labelled, "train")


def sent(given):
    """As another process gets it."""
    queue = multiprocessing.Queue()
    queue.put(given)
    return queue.get(timeout=60)


def test_what_other_processes_are_given_can_be_sent_to_them():
    template = chat_template(TOKENIZER, TemplateConfig())
    settings = encoding._JudgeSettings(TOKENIZER, template, True, False)
    table = pa.Table.from_pylist([tiny_row(i) for i in range(3)], schema=SCHEMA)
    there = encoding._judging(sent(settings))
    found = sent(there(table))
    assert [f.encoded for f in found] == [encode(TOKENIZER, r, template) for r in table.to_pylist()]
