"""The rows that `assay stage` reads: of any schema version, beside its results for the time of the run, no longer."""

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ops.commands.stage import _read, scratch_beside
from ops.reading import Reading
from steps.contracts.errors import AssayError
from steps.contracts.locks import OwnFolder
from steps.contracts.records import SCHEMA, make_row


def test_what_a_killed_run_left_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    dead, results = tmp_path / ".stage-dead", tmp_path / "report.json"
    dead.mkdir()
    (dead / "rows").write_text("raw")
    results.write_text("{}")
    with closing(OwnFolder(tmp_path, ".stage-")) as living:
        with scratch_beside(tmp_path) as mine, scratch_beside(tmp_path) as another:
            assert set(tmp_path.iterdir()) == {living.path, mine, another, results}
        assert set(tmp_path.iterdir()) == {living.path, results}


def test_a_file_of_an_earlier_stage_is_read_whatever_schema_version_wrote_it(tmp_path: Path) -> None:
    row = make_row(kind="document", source="s", locator="line:1", raw=b"x", text="Wednesday.") | {"split": "test"}
    for version in (1, 2):
        table = pa.Table.from_pylist([row], schema=SCHEMA)
        file = tmp_path / f"rows-{version}.parquet"
        pq.write_table(table.drop_columns(["label", "score"]) if version == 1 else table, file)
        read = _read([str(file)], Reading(), tmp_path / f"read-{version}").rows
        assert list(read.iter_rows()) == [row]


def test_a_damaged_parquet_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "g.parquet"
    file.write_text("garbage")
    with pytest.raises(AssayError, match=r"g\.parquet: not a Parquet file, or a damaged one"):
        _read([str(file)], Reading(), tmp_path / "out")
