import hashlib
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.contracts.digests import file_digest, short_id, value_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.row_cache import RESULTS, CachedRows, Origin, RowCache, row_keys

ORIGIN = Origin(stage="scrub", config="c", code="k", key_id="id")


def table(rows):
    """Rows as (content id, meta, split)."""
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    names = ("content_id", "meta", "split")
    return pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})


def random_rows(n, seed=0):
    dice = random.Random(seed)
    metas = ["{}", '{"a":1}', '{"b":"2"}']
    return [
        (f"{dice.getrandbits(128):032x}", dice.choice(metas), dice.choice([None, "train", "test"])) for _ in range(n)
    ]


def row_cache_of(folder, rows, results, columns=("meta", "split")):
    cached = CachedRows(ORIGIN, None)
    cached.keep(row_keys(table(rows), columns), results)
    return cached.close(folder)


def test_keys_tell_apart_what_differs_and_nothing_else():
    rows = [*random_rows(500), ("x", "{}", None), ("X" * 32, "{}", "train"), ("", "{}", "")]
    rows += [(i, m, s) for i, _, _ in rows[:50] for m in ("{}", "meta", "") for s in (None, "train", "")]
    for columns in ((), ("meta",), ("meta", "split")):
        wanted = [(i, *((m,) if "meta" in columns else ()), *((s,) if "split" in columns else ())) for i, m, s in rows]
        keys = [tuple(k) for k in row_keys(table(rows), columns).tolist()]
        groups = {}
        for what, key in zip(wanted, keys, strict=True):
            groups.setdefault(what, set()).add(key)
        assert all(len(k) == 1 for k in groups.values())
        assert len({k for ks in groups.values() for k in ks}) == len(groups)


def test_keys_do_not_depend_on_how_rows_are_cut():
    rows = random_rows(300)
    whole = row_keys(table(rows), ("meta", "split"))
    parts = [row_keys(table(rows).slice(a, 70), ("meta", "split")) for a in range(0, 300, 70)]
    assert (np.concatenate(parts) == whole).all()
    pieces = pa.concat_tables([table(rows[:100]), table(rows[100:])])
    assert (row_keys(pieces, ("meta", "split")) == whole).all()
    assert row_keys(table([]), ("meta",)).shape == (0, 2)


def test_what_is_kept_is_found_again(tmp_path):
    rows = random_rows(1000)
    results = {i: f"result {i % 7}" for i in range(0, 1000, 3)}
    row_cache = RowCache.open(row_cache_of(tmp_path, rows, results).folder)
    mixed = random_rows(200, seed=1) + rows[::-1]
    lookup = CachedRows(ORIGIN, row_cache).look_up(row_keys(table(mixed), ("meta", "split")))
    assert lookup.new.tolist() == list(range(200))
    assert lookup.results == {200 + 999 - i: text for i, text in results.items()}


def test_keys_with_one_half_in_common_are_told_apart(tmp_path):
    half = "0123456789abcdef"
    rows = [(half + f"{i:016x}", "", None) for i in range(0, 40, 2)]
    row_cache = row_cache_of(tmp_path, rows, {i: str(i) for i in range(20)}, columns=())
    asked = [(half + f"{i:016x}", "", None) for i in range(42)]
    lookup = CachedRows(ORIGIN, row_cache).look_up(row_keys(table(asked)))
    assert lookup.cached.tolist() == [i % 2 == 0 and i < 40 for i in range(42)]
    assert lookup.results == {2 * i: str(i) for i in range(20)}


def test_a_row_cache_does_not_depend_on_the_order_of_rows(tmp_path):
    rows = random_rows(400)
    results = {i: rows[i][0][:3] for i in range(0, 400, 2)}
    one = row_cache_of(tmp_path / "one", rows, results)
    cached = CachedRows(ORIGIN, None)
    order = random.Random(3).sample(range(400), 400)
    for at in range(0, 400, 90):
        part = order[at : at + 90]
        said = {n: results[i] for n, i in enumerate(part) if i in results}
        cached.keep(row_keys(table([rows[i] for i in part]), ("meta", "split")), said)
    other = cached.close(tmp_path / "other")
    assert other.digest == one.digest and other.manifest.rows == 400


def test_equal_rows_are_kept_once_and_undecided_ones_never(tmp_path):
    rows = random_rows(10)
    cached = CachedRows(ORIGIN, None)
    keys = row_keys(table(rows + rows))
    cached.keep(keys, {0: "a", 10: "a"}, undecided=[3, 13])
    row_cache = cached.close(tmp_path)
    assert row_cache.manifest.rows == 9
    assert CachedRows(ORIGIN, row_cache).look_up(keys).new.tolist() == [3, 13]


@pytest.mark.parametrize(
    ("change", "why"),
    [({"config": "other"}, "the scrub settings changed"), ({"key_id": "other"}, "the pseudonym key, or a file"),
     ({"code": "other"}, "the code of scrub")],
)  # fmt: skip
def test_results_of_another_origin_are_not_used_and_it_is_said(tmp_path, change, why):
    rows = random_rows(20)
    row_cache = row_cache_of(tmp_path, rows, {})
    cached = CachedRows(ORIGIN.model_copy(update=change), row_cache)
    assert cached.look_up(row_keys(table(rows), ("meta", "split"))).new.tolist() == list(range(20))
    (note,) = cached.notes()
    assert note.startswith("20 rows recomputed because") and why in note


def test_notes_count(tmp_path):
    rows = random_rows(20)
    cached = CachedRows(ORIGIN, row_cache_of(tmp_path, rows[:15], {}))
    cached.look_up(row_keys(table(rows), ("meta", "split")))
    assert cached.notes() == ("15 rows taken from the earlier run, 5 computed",)
    assert CachedRows(ORIGIN, None).notes() == ()


def test_the_row_cache_of_another_stage_is_refused(tmp_path):
    row_cache = row_cache_of(tmp_path / "m", random_rows(20), {1: "x"})
    with pytest.raises(ValueError, match="stage screen was given a row cache of stage scrub"):
        CachedRows(Origin(stage="screen", config="c"), row_cache)


def test_damage_is_an_error_with_a_way_out(tmp_path):
    row_cache_of(tmp_path / "m", random_rows(20), {1: "x"})
    manifest = tmp_path / "m" / "manifest.json"
    text = manifest.read_text()
    for broken in ("{", "{}", text.replace('"format": 1', '"format": 2')):
        manifest.write_text(broken)
        with pytest.raises(IntegrityError, match="way out"):
            RowCache.open(tmp_path / "m")
    manifest.write_text(text)
    data = tmp_path / "m" / RESULTS
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="not the bytes"):
        RowCache.open(tmp_path / "m")
    data.unlink()
    with pytest.raises(InputNotFoundError, match="missing"):
        RowCache.open(tmp_path / "m")
    with pytest.raises(InputNotFoundError, match="way out"):
        RowCache.open(tmp_path)


def test_results_that_are_not_sorted_are_refused(tmp_path):
    row_cache = row_cache_of(tmp_path, random_rows(20), {})
    turned = pq.read_table(tmp_path / RESULTS).take(list(range(19, -1, -1)))
    pq.write_table(turned, tmp_path / RESULTS)
    with pytest.raises(IntegrityError, match="sorted"):
        CachedRows(ORIGIN, row_cache)
    (tmp_path / RESULTS).write_bytes(b"no parquet")
    with pytest.raises(IntegrityError, match="not a table"):
        CachedRows(ORIGIN, row_cache)


def test_an_empty_row_cache(tmp_path):
    row_cache = RowCache.open(row_cache_of(tmp_path, [], {}).folder)
    assert json.loads((tmp_path / "manifest.json").read_text())["rows"] == 0
    cached = CachedRows(ORIGIN, row_cache)
    assert cached.look_up(row_keys(table(random_rows(3)))).new.tolist() == [0, 1, 2]


WAY_OUT = "\n  way out: run once with `reuse: null`: every row is computed and kept anew"


def test_what_cannot_be_used_is_named_with_a_way_out(tmp_path):
    folder = tmp_path / "not" / "there yet"
    row_cache = row_cache_of(folder, random_rows(20), {1: "x"})
    manifest, data = folder / "manifest.json", folder / RESULTS
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", RESULTS]
    assert row_cache.manifest.files == {RESULTS: file_digest(data)}
    assert row_cache.digest == value_digest(row_cache.manifest.model_dump(mode="json"))

    def refused(kind, use):
        with pytest.raises(kind) as e:
            use()
        return str(e.value)

    def opened():
        return RowCache.open(folder)

    def used():
        return CachedRows(ORIGIN, row_cache)

    text, whole = manifest.read_text(), data.read_bytes()
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    assert refused(IntegrityError, opened) == f"{manifest}: format 2, this version reads 1{WAY_OUT}"
    manifest.write_text("{}")
    assert refused(IntegrityError, opened) == f"{manifest}: not readable: Field required{WAY_OUT}"
    manifest.write_text(text)
    data.write_bytes(b"no parquet")
    assert refused(IntegrityError, opened) == f"{data}: not the bytes that the manifest names{WAY_OUT}"
    assert refused(IntegrityError, used) == f"{data}: not a table of results: ArrowInvalid{WAY_OUT}"
    pq.write_table(pa.table({"key": [b"x" * 16]}), data)
    assert refused(IntegrityError, used) == f"{data}: not a table of results: KeyError{WAY_OUT}"
    data.write_bytes(whole)
    short = row_cache.manifest.model_copy(update={"rows": 19})
    assert refused(IntegrityError, lambda: CachedRows(ORIGIN, RowCache(folder, short))) == (
        f"{data}: the results are not sorted or not complete{WAY_OUT}"
    )
    data.unlink()
    assert refused(InputNotFoundError, opened) == f"{data}: a file of this row cache is missing{WAY_OUT}"
    assert refused(InputNotFoundError, lambda: RowCache.open(tmp_path)) == (
        f"{tmp_path}: no manifest.json: not the row cache of a stage{WAY_OUT}"
    )


def test_refusals_in_words(tmp_path):
    row_cache = row_cache_of(tmp_path, random_rows(20), {})
    for change, why in {
        "config": "the scrub settings changed",
        "key_id": "the pseudonym key, or a file that the settings name, changed",
        "code": "the code of scrub or one of its libraries changed",
    }.items():
        cached = CachedRows(ORIGIN.model_copy(update={change: "other"}), row_cache)
        cached.look_up(np.zeros((1_200, 2), np.uint64))
        assert cached.notes() == (f"1,200 rows recomputed because {why} since the earlier run",)
    both = ORIGIN.model_copy(update={"config": "other", "code": "other"})
    assert CachedRows(both, row_cache).refusal == "the scrub settings changed"


def test_a_key_is_the_content_id_and_a_digest_per_further_column():
    content_id = "00112233445566778899aabbccddeeff"
    (key,) = row_keys(table([(content_id, "{}", None)])).tolist()
    assert key == [0x0011223344556677, 0x8899AABBCCDDEEFF]

    def salt(column, value):
        raw = hashlib.blake2b(value, digest_size=16, person=column).digest()
        return int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big")

    (whole,) = row_keys(table([(content_id, "{}", None)]), ("meta", "split")).tolist()
    # A missing value counts as the byte 255, which no text is.
    meta, split = salt(b"meta", b"{}"), salt(b"split", b"\xff")
    assert whole == [key[i] ^ meta[i] ^ split[i] for i in (0, 1)]
    # An id that isn't 32 hex digits, of a foreign file, is hashed; then all that come with it are.
    for foreign in ("x" * 32, "0" * 31, "0" * 33, "A" * 32):
        (first, other) = row_keys(table([(content_id, "", None), (foreign, "", None)])).tolist()
        for found, text in ((first, content_id), (other, foreign)):
            raw = bytes.fromhex(short_id(text))
            assert found == [int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big")]


def test_what_is_cached_new_and_silent(tmp_path):
    rows = random_rows(6)
    cached = CachedRows(ORIGIN, row_cache_of(tmp_path, rows[:4], {1: "x", 2: "y"}, columns=()))
    lookup = cached.look_up(row_keys(table([rows[5], *rows[:5]])))
    assert lookup.cached.tolist() == [False, True, True, True, True, False]
    assert (lookup.new.tolist(), lookup.results) == ([0, 5], {2: "x", 3: "y"})
    assert lookup.silent.tolist() == [False, True, False, False, True, False]
    assert (cached.reused, cached.computed) == (4, 2)
    cached.look_up(row_keys(table(rows[:1])))
    assert (cached.reused, cached.computed) == (5, 2)


def test_a_file_of_results_is_sorted_by_key_and_names_each_text_once(tmp_path):
    rows = [(f"{n:032x}", "", None) for n in (3, 1, 2, 1)]
    row_cache = row_cache_of(tmp_path, rows, {0: "b", 2: "b", 1: "a", 3: "late"}, columns=())
    stored = pq.read_table(tmp_path / RESULTS)
    assert stored.schema.equals(pa.schema([("key", pa.binary(16)), ("result", pa.string())]))
    # Of equal rows the first is kept.
    assert stored.to_pylist() == [
        {"key": n.to_bytes(16, "big"), "result": text} for n, text in ((1, "a"), (2, "b"), (3, "b"))
    ]
    assert (row_cache.manifest.rows, row_cache.manifest.format, row_cache.manifest.origin) == (3, 1, ORIGIN)
