"""Rows of schema version 2 beside those of version 1, whose rules stand here as they were, written by hand."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.contracts.dataset import Dataset, DatasetWriter, Manifest, ShardEntry
from steps.contracts.digests import MultisetDigest, file_digest
from steps.contracts.errors import IntegrityError
from steps.contracts.records import (
    COMMON_COLUMNS,
    SCHEMA,
    Row,
    all_messages,
    comparison_class,
    content_id_of,
    current,
    make_row,
    message,
    text_of,
)

OLD_MESSAGE = pa.struct(
    [
        pa.field("role", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("tool_calls", pa.string()),
        pa.field("tool_call_id", pa.string()),
    ]
)
OLD_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("content_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("locator", pa.string(), nullable=False),
        pa.field("batch", pa.int32(), nullable=False),
        pa.field("messages", pa.list_(OLD_MESSAGE), nullable=False),
        pa.field("tools", pa.string()),
        pa.field("chosen", pa.list_(OLD_MESSAGE), nullable=False),
        pa.field("rejected", pa.list_(OLD_MESSAGE), nullable=False),
        pa.field("text", pa.string()),
        pa.field("parents", pa.list_(pa.string()), nullable=False),
        pa.field("meta", pa.string(), nullable=False),
        pa.field("split", pa.string()),
    ],
    metadata={"assay.schema_version": "1"},
)


def old_content_id(row: Row) -> str:
    """Version 1's rule: BLAKE2b with 16 bytes over length (8 bytes, little-endian) and bytes of the canonical JSON."""

    def key(m: Row) -> list[str | None]:
        return [m["role"], m["content"], m["name"], m["tool_calls"], m["tool_call_id"]]

    sides = [[key(m) for m in row[side]] for side in ("messages", "chosen", "rejected")]
    content = [row["kind"], sides[0], row["tools"], sides[1], sides[2], row["text"]]
    raw = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return hashlib.blake2b(len(raw).to_bytes(8, "little") + raw, digest_size=16).hexdigest()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MESSAGES = st.lists(
    st.builds(message, st.sampled_from(["user", "assistant", "tool"]), TEXT, name=st.none() | TEXT,
              tool_calls=st.none() | TEXT, tool_call_id=st.none() | TEXT), max_size=3,
)  # fmt: skip
ROWS = st.builds(
    make_row, kind=st.sampled_from(["conversation", "preference", "document"]), source=TEXT, locator=TEXT,
    raw=st.binary(max_size=4), messages=MESSAGES, chosen=MESSAGES, rejected=MESSAGES, tools=st.none() | TEXT,
    text=st.none() | TEXT,
)  # fmt: skip


@given(ROWS)
def test_a_row_without_the_new_fields_keeps_its_content_id(row):
    assert row["content_id"] == content_id_of(row) == old_content_id(row)


@pytest.mark.parametrize(
    "changed",
    [{"label": True}, {"label": False}, {"score": 0.0}, {"score": 1.0}, {"weight": 0}, {"weight": 1},
     {"reasoning": "two and two"}, {"reasoning": ""}],
)  # fmt: skip
def test_each_new_field_is_part_of_what_a_row_says(changed):
    def row(label=None, score=None, **said):
        turns = [message("user", "2+2?"), message("assistant", "4", **said)]
        return make_row(
            kind="conversation", source="s", locator="1", raw=b"", messages=turns, label=label, score=score
        )  # fmt: skip

    assert row(**changed)["content_id"] != row()["content_id"]
    assert row(**changed)["record_id"] == row()["record_id"]


def old_row(n: int) -> Row:
    turns = [message("user", f"what is {n}?"), message("assistant", str(n), name="calc" if n % 2 else None)]
    new = make_row(kind="conversation", source="s/a", locator=f"line:{n}", raw=b"%d" % n, messages=turns)
    row = {k: v for k, v in new.items() if k in OLD_SCHEMA.names}
    return {**row, "messages": [{k: m[k] for k in m if k not in ("weight", "reasoning")} for m in new["messages"]]}


@pytest.fixture
def old_version(tmp_path):
    """A dataset version as version 1 stored it: two shards, all rows of both."""
    entries, ids = [], []
    for first in (0, 5):
        rows = [old_row(n) for n in range(first, first + 5)]
        path = tmp_path / "old" / "shards" / "x.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=OLD_SCHEMA), path)
        sha = file_digest(path)
        entries.append(ShardEntry(sha256=sha, rows=5, bytes=path.stat().st_size))
        path.rename(path.with_name(f"{sha}.parquet"))
        ids += [r["content_id"] for r in rows]
    digest = MultisetDigest()
    digest.update(f"{i}\t" for i in ids)
    manifest = Manifest(
        schema_version=1, stage="ingest", parent=None, digest=digest.hexdigest(), rows=10, splits={"": 10},
        kinds={"conversation": 10}, shards=tuple(entries), selection=None,
    )  # fmt: skip
    (tmp_path / "old" / "manifest.json").write_text(manifest.model_dump_json())
    return Dataset.open(tmp_path / "old")


def test_a_dataset_of_version_1_is_read_with_nulls(old_version):
    assert all(t.schema.equals(SCHEMA) for t in old_version.tables())
    rows = list(old_version.iter_rows())
    assert [content_id_of(r) for r in rows] == [r["content_id"] for r in rows]
    assert {(r["label"], r["score"], m["weight"], m["reasoning"]) for r in rows for m in r["messages"]} == {
        (None, None, None, None)
    }
    assert [m["name"] for r in rows for m in r["messages"]] == [None, None, None, "calc"] * 5
    some = next(iter(old_version.tables(["messages", "label", "split"])))
    assert some.schema.equals(pa.schema([SCHEMA.field(n) for n in ("messages", "label", "split")]))
    assert next(iter(old_version.tables(["content_id"]))).column_names == ["content_id"]


def test_versions_over_old_shards_keep_digests_and_take_new_rows(old_version, tmp_path):
    assert old_version.select(np.ones(10, bool), tmp_path / "same", "split").digest == old_version.digest
    rewriter = old_version.rewriter(tmp_path / "new", "scrub")
    for number, chunk in enumerate(old_version.chunks()):
        rows = chunk.table.to_pylist()
        rows[0]["messages"][1]["weight"] = 0
        rows[0]["content_id"] = content_id_of(rows[0])
        rewriter.put(chunk, pa.Table.from_pylist(rows, schema=SCHEMA) if number else None)
    new = rewriter.close()
    assert new.manifest.shards[0] == old_version.manifest.shards[0]
    assert new.manifest.schema_version == 2
    assert [m["weight"] for r in new.iter_rows() for m in r["messages"]] == [None] * 11 + [0] + [None] * 8
    assert new.export_parquet(tmp_path / "out.parquet") == 10
    assert pq.read_schema(tmp_path / "out.parquet").equals(SCHEMA)


def test_a_version_written_anew_has_the_digest_of_the_old_one(old_version, tmp_path):
    writer = DatasetWriter(tmp_path / "copy", "ingest")
    for table in old_version.tables():
        writer.write(table)
    assert writer.close().digest == old_version.digest


def test_rows_of_a_newer_assay_are_refused(old_version):
    file = old_version.folder / "manifest.json"
    file.write_text(file.read_text().replace('"schema_version":1', '"schema_version":3'))
    with pytest.raises(IntegrityError, match="schema version 3"):
        Dataset.open(old_version.folder)


def test_a_table_of_this_version_is_taken_as_it_is():
    table = pa.Table.from_pylist([make_row(kind="document", source="s", locator="", raw=b"", text="x")], schema=SCHEMA)
    assert current(table)["messages"].chunk(0).buffers()[1].address == table["messages"].chunk(0).buffers()[1].address


def test_a_row_has_every_field_and_two_ids_by_hand():
    row = make_row(kind="document", source="s/é", locator="line:1", raw=b"\xff", text="x")
    parts = b"".join(len(p).to_bytes(8, "little") + p for p in ("s/é".encode(), b"line:1", b"\xff"))
    assert row == {
        "record_id": hashlib.blake2b(parts, digest_size=16).hexdigest(), "content_id": old_content_id(row),
        "kind": "document", "source": "s/é", "locator": "line:1", "batch": 0, "messages": [], "tools": None,
        "chosen": [], "rejected": [], "text": "x", "label": None, "score": None, "parents": [], "meta": "{}",
        "split": None,
    }  # fmt: skip
    assert list(row) == SCHEMA.names
    full = make_row(
        kind="preference", source="s", locator="1", raw=b"", messages=[message("user", "a")],
        chosen=[message("assistant", "b")], rejected=[message("assistant", "c")], tools="[]", label=False, score=0.5,
        parents=["p"], meta={"b": 1, "a": "é"}, batch=3,
    )  # fmt: skip
    assert [full[k] for k in ("tools", "label", "score", "parents", "meta", "batch", "split")] == [
        "[]", False, 0.5, ["p"], '{"a":"é","b":1}', 3, None
    ]  # fmt: skip
    assert [m["content"] for m in all_messages(full)] == ["a", "b", "c"]
    assert set(SCHEMA.names) - set(COMMON_COLUMNS) == {"label", "score"}


def test_a_message_has_every_field():
    given = {"name": "n", "tool_calls": "[]", "tool_call_id": "1", "weight": 0, "reasoning": "r"}
    assert message("tool", "x") == {"role": "tool", "content": "x", **dict.fromkeys(given)}
    assert message("tool", "x", **given) == {"role": "tool", "content": "x", **given}


def test_given_values_stand_after_the_old_ones_and_together():
    def row(**said):
        return make_row(kind="document", source="s", locator="1", raw=b"", **said)

    def by_hand(content):
        raw = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        return hashlib.blake2b(len(raw).to_bytes(8, "little") + raw, digest_size=16).hexdigest()

    said = message("assistant", "4", weight=1)
    assert row(label=True)["content_id"] == by_hand(["document", [], None, [], [], None, True, None])
    assert row(score=0.5, messages=[said])["content_id"] == by_hand(
        ["document", [["assistant", "4", None, None, None, 1, None]], None, [], [], None, None, 0.5]
    )


def test_what_a_row_says_as_one_text():
    called = message("assistant", "", tool_calls='[{"f": 1}]', reasoning="thought")
    row = make_row(
        kind="preference", source="s", locator="1", raw=b"", messages=[message("user", "a"), called],
        chosen=[message("assistant", "b", tool_calls="[2]")], rejected=[message("assistant", "c")], tools="not said",
    )  # fmt: skip
    assert text_of(row) == 'a\n\n[{"f": 1}]\n\nb\n\n[2]\n\nc'
    document = make_row(kind="document", source="s", locator="1", raw=b"", text="t", messages=[message("user", "a")])
    assert text_of(document) == "t"
    assert text_of({**document, "text": None}) == ""


def test_columns_come_in_the_order_asked_for_and_with_their_types():
    table = pa.table({"batch": pa.array([1], pa.int64()), "more": [1], "kind": ["document"]})
    found = current(table, ["score", "kind", "batch"])
    assert found.to_pylist() == [{"score": None, "kind": "document", "batch": 1}]
    assert found.schema.equals(pa.schema([SCHEMA.field(n) for n in ("score", "kind", "batch")], SCHEMA.metadata), True)
    assert SCHEMA.metadata == {b"assay.schema_version": b"2"}


@pytest.mark.parametrize(
    ("kind", "label", "place"),
    [
        ("conversation", None, 0), ("preference", None, 1), ("document", None, 2),
        ("unpaired_preference", True, 3), ("unpaired_preference", False, 4),
    ],
)  # fmt: skip
def test_rows_are_compared_within_their_kind_and_unwanted_answers_apart(kind, label, place):
    assert comparison_class(make_row(kind=kind, source="s", locator="1", raw=b"", label=label)) == place
