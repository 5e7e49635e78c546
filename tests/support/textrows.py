"""Datasets of rows made from plain texts, for tests of the stages that compare text."""

from pathlib import Path

import pyarrow as pa

from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.records import SCHEMA, make_row, message


def document(text, batch=0, locator=None, parents=None):
    locator = locator or f"{batch}:{text[:20]}"
    return make_row(
        kind="document", source="s", locator=locator, raw=text.encode("utf-8", "surrogatepass"), text=text, batch=batch,
        parents=parents,
    )  # fmt: skip


def chat(prompt, answer, batch=0, locator="", system=None):
    said = [message("system", system)] if system else []
    said += [message("user", prompt), message("assistant", answer)]
    raw = f"{prompt}\0{answer}\0{batch}".encode()
    return make_row(kind="conversation", source="s", locator=locator, raw=raw, messages=said, batch=batch)


def preference(prompt, chosen, rejected, locator=""):
    return make_row(
        kind="preference", source="s", locator=locator, raw=f"{prompt}\0{chosen}\0{rejected}".encode(),
        messages=[message("user", prompt)], chosen=[message("assistant", chosen)],
        rejected=[message("assistant", rejected)],
    )  # fmt: skip


def dataset(rows, folder: Path, shard_rows: int | None = None) -> Dataset:
    """`shard_rows`: start a new shard after so many rows."""
    writer = DatasetWriter(folder, "ingest")
    step = shard_rows or max(len(rows), 1)
    for at in range(0, len(rows), step):
        writer.write(pa.Table.from_pylist(rows[at : at + step], schema=SCHEMA))
        writer._end_shard()
    return writer.close()


def reopened(version: Dataset, *owners: Dataset) -> Dataset:
    """The version read from its files, its shards looked up beside the datasets that wrote them."""
    where = {path.stem: path for owner in owners for path in owner.shard_paths}
    return Dataset.open(version.folder, where.__getitem__)


def record_ids(version: Dataset) -> list[str]:
    return [row["record_id"] for row in version.iter_rows()]


def ledger_lines(outcome) -> list[dict]:
    return outcome.ledger.read().to_pylist()
