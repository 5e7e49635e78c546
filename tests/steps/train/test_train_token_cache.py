import numpy as np
import pyarrow as pa
import pytest
from support.tiny_model import tiny_dataset, tiny_row, tiny_tokenizer

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import message
from steps.engines.template import lint
from steps.engines.template.config import TemplateConfig
from steps.train import token_cache
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.rows_to_encode import RowsToEncode
from steps.train.token_cache import Means

TOKENIZER = tiny_tokenizer()


class Asked:
    """Counts the rows that are judged."""

    def __init__(self, monkeypatch):
        self.rows = 0
        judged = lint.Judge.__call__

        def counting(judge, rows):
            self.rows += len(rows)
            return judged(judge, rows)

        monkeypatch.setattr(lint.Judge, "__call__", counting)


@pytest.fixture
def asked(monkeypatch):
    return Asked(monkeypatch)


def encoded(folder, rows, means, tokenizer=TOKENIZER, **settings):
    config = TrainConfig.model_validate({"max_unusable_share": 1, **settings})
    dataset, path = tiny_dataset(folder, rows), folder / "train.arrow"
    given = RowsToEncode(dataset, "train", tokenizer, TemplateConfig(), config, path, means=means)
    found, made = objective_of(config.objective).encode(given)
    return found[:], made


def rows_of(count):
    rows = [tiny_row(i) for i in range(count)]
    rows[1] = tiny_row(1, messages=[message("user", "hi")])
    rows[2] = tiny_row(2, kind="document", messages=[], text="left out")
    rows[3] = tiny_row(3, messages=[*rows[3]["messages"], message("user", "and?"), message("assistant", "yes é")])
    return rows


def test_a_second_run_with_one_row_more_encodes_one_row(tmp_path, asked):
    rows, means = rows_of(12), Means(cache=tmp_path / "cache")
    first = encoded(tmp_path / "a", rows, means)
    assert asked.rows == 11
    assert first == encoded(tmp_path / "b", rows, None)
    asked.rows = 0
    more = [tiny_row(99), *rows[::-1]]
    assert encoded(tmp_path / "c", more, means) == encoded(tmp_path / "d", more, Means(cache=tmp_path / "other"))
    assert asked.rows == 1 + 12


def test_tokens_of_another_tokenizer_template_setting_or_code_are_not_used(tmp_path, asked):
    rows, cache = rows_of(6), tmp_path / "cache"
    other = tiny_tokenizer(vocab_size=300)
    changes = [{}, {"allow_control_tokens": True}, {"tokenizer": other}, {"means": Means(cache=cache, code="new")}]
    for number, change in enumerate(changes):
        asked.rows = 0
        given = {"means": Means(cache=cache), **change}
        kept = encoded(tmp_path / f"{number}", rows, **given)
        assert asked.rows == 5
        assert kept == encoded(tmp_path / f"{number}b", rows, **{**given, "means": None})


def test_what_left_the_data_leaves_the_cache(tmp_path, asked):
    rows, means = rows_of(8), Means(cache=tmp_path / "cache")
    encoded(tmp_path / "a", rows, means)
    encoded(tmp_path / "b", rows[:4], means)
    with pa.OSFile(str(tmp_path / "cache/train.arrow")) as file:
        assert len(pa.ipc.open_file(file).read_all()) == 3
    asked.rows = 0
    encoded(tmp_path / "c", rows, means)
    assert asked.rows == 4


@pytest.mark.parametrize("file", ["train.arrow", "train.json"])
@pytest.mark.parametrize("damage", [b"", b"no", None])
def test_a_damaged_cache_is_as_none(tmp_path, asked, file, damage):
    rows, means = rows_of(6), Means(cache=tmp_path / "cache")
    first = encoded(tmp_path / "a", rows, means)
    path = tmp_path / "cache" / file
    raw = path.read_bytes()
    path.write_bytes(raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:] if damage is None else damage)
    asked.rows = 0
    assert encoded(tmp_path / "b", rows, means) == first
    assert asked.rows == 5


def test_a_run_that_fails_leaves_the_cache_as_it_was(tmp_path):
    means = Means(cache=tmp_path / "cache")
    encoded(tmp_path / "a", rows_of(6), means)
    before = {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()}
    with pytest.raises(TrainingDataError, match="a row has"):
        encoded(tmp_path / "b", rows_of(9), means, max_length=8, overlong="fail")
    assert {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()} == before


def test_rows_that_differ_in_how_reasoning_stood_have_keys_of_their_own():
    rows = [tiny_row(1), tiny_row(1, meta={"think_tag": "think"}), tiny_row(2)]
    keys = token_cache.keys_of(pa.Table.from_pylist(rows))
    assert len(np.unique(keys)) == 3
