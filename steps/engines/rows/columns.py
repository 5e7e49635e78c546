"""Rows looked through column by column, over Arrow buffers: for a first look that most rows need nothing after."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.arrays import Mask, one_array
from steps.engines.rows.segments import JSON_COLUMNS, MESSAGE_LISTS, json_texts

# Strings without nulls, shape (n,) -> a truth value for each.
Matching = Callable[[pa.Array], Mask]

_SURROGATES = re.compile("[\ud800-\udfff]")


def rows_with(table: pa.Table, matching: Matching, *, everything: bool = False) -> Mask:
    """Which rows of a table (SCHEMA) have a text that matches, shape (rows,).

    Asked about are all texts that `segments` gives (`everything`: as there), lone surrogates inside JSON as replacement
    characters, and names of tools. A JSON text that stands in several rows is read once.
    """
    found = np.zeros(len(table), bool)
    for column, rows in _plain_columns(table):
        if column.null_count < len(column):
            found[rows[matching(column.fill_null(""))]] = True
    for column, rows, path in _json_columns(table):
        if column.null_count < len(column):
            found[rows[_json_matching(column, path, matching, everything)]] = True
    return found


def _plain_columns(table: pa.Table) -> Iterator[tuple[pa.Array, npt.NDArray[np.int64]]]:
    """Columns of texts, and the row of each text."""
    yield one_array(table["text"]), np.arange(len(table))
    for name in MESSAGE_LISTS:
        messages, rows = _messages(table, name)
        yield pc.struct_field(messages, "content"), rows
        yield pc.struct_field(messages, "name"), rows
        yield pc.struct_field(messages, "reasoning"), rows


def _json_columns(table: pa.Table) -> Iterator[tuple[pa.Array, npt.NDArray[np.int64], str]]:
    """Columns of JSON texts, the row of each, and the path of such a text in its row."""
    for name in JSON_COLUMNS:
        yield one_array(table[name]), np.arange(len(table)), name
    for name in MESSAGE_LISTS:
        messages, rows = _messages(table, name)
        yield pc.struct_field(messages, "tool_calls"), rows, f"{name}/0/tool_calls"


def _messages(table: pa.Table, name: str) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    lists = one_array(table[name])
    return lists.flatten(), np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())


def _json_matching(column: pa.Array, path: str, matching: Matching, everything: bool) -> Mask:
    encoded = column.dictionary_encode()
    texts: list[str] = []
    owners: list[int] = []
    for number, value in enumerate(encoded.dictionary.to_pylist()):
        found = json_texts(value, path, everything=everything)
        texts += found
        owners += [number] * len(found)
    # One more for the missing value.
    matched = np.zeros(len(encoded.dictionary) + 1, bool)
    if texts:
        readable = pa.array((t if t.isascii() else _SURROGATES.sub("\ufffd", t) for t in texts), pa.large_string())
        matched[np.array(owners)[matching(readable)]] = True
    owner: npt.NDArray[np.int32] = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return matched[owner]
