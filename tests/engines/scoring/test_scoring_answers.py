"""The answers file: its order, its schema, and what is said where it can't be read or written."""

import pyarrow.parquet as pq
import pytest

from steps.contracts.errors import InputNotFoundError
from steps.contracts.evaluation import ANSWERS_SCHEMA, Answers
from steps.engines.scoring.answers import Answered, read_answers, write_answers

ROWS = [
    Answered("b", "2", "p", None, None, {"x": None}),
    Answered("b", "1", "p", "r", "a", {"y": 0.5, "x": 1.0}),
    Answered("a", "3", "é", None, "a", {}),
]


def test_rows_are_written_by_task_and_row_whatever_their_order(tmp_path):
    path = tmp_path / "not" / "there yet" / "answers.parquet"
    written = write_answers(ROWS, path)
    assert written == Answers(path, 3)
    table = pq.read_table(path)
    assert table.schema.equals(ANSWERS_SCHEMA)
    assert [(r["task"], r["row_id"], r["scores"]) for r in table.to_pylist()] == [
        ("a", "3", "{}"), ("b", "1", '{"x":1.0,"y":0.5}'), ("b", "2", '{"x":null}')
    ]  # fmt: skip
    assert list(path.parent.iterdir()) == [path]
    again = write_answers(ROWS[::-1], tmp_path / "again.parquet")
    assert again.path.read_bytes() == path.read_bytes()
    assert read_answers(again) == {"a": [ROWS[2]], "b": [ROWS[1], ROWS[0]]}


def test_none_at_all(tmp_path):
    none = write_answers([], tmp_path / "none.parquet")
    assert (none.rows, read_answers(none)) == (0, {})


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputNotFoundError) as e:
        read_answers(Answers(tmp_path / "gone.parquet", 1))
    assert str(e.value) == f"{tmp_path / 'gone.parquet'}: no such answers file"
