import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
    assert lookup.new == list(range(200))
    assert lookup.results == {200 + 999 - i: text for i, text in results.items()}


def test_keys_with_one_half_in_common_are_told_apart(tmp_path):
    half = "0123456789abcdef"
    rows = [(half + f"{i:016x}", "", None) for i in range(0, 40, 2)]
    row_cache = row_cache_of(tmp_path, rows, {i: str(i) for i in range(20)}, columns=())
    asked = [(half + f"{i:016x}", "", None) for i in range(42)]
    lookup = CachedRows(ORIGIN, row_cache).look_up(row_keys(table(asked)))
    assert lookup.known.tolist() == [i % 2 == 0 and i < 40 for i in range(42)]
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
    assert CachedRows(ORIGIN, row_cache).look_up(keys).new == [3, 13]


@pytest.mark.parametrize(
    ("change", "why"),
    [({"config": "other"}, "the scrub settings changed"), ({"key_id": "other"}, "the pseudonym key, or a file"),
     ({"code": "other"}, "the code of scrub")],
)  # fmt: skip
def test_results_of_another_origin_are_not_used_and_it_is_said(tmp_path, change, why):
    rows = random_rows(20)
    row_cache = row_cache_of(tmp_path, rows, {})
    cached = CachedRows(ORIGIN.model_copy(update=change), row_cache)
    assert cached.look_up(row_keys(table(rows), ("meta", "split"))).new == list(range(20))
    (note,) = cached.notes()
    assert note.startswith("20 rows recomputed because") and why in note


def test_notes_count(tmp_path):
    rows = random_rows(20)
    cached = CachedRows(ORIGIN, row_cache_of(tmp_path, rows[:15], {}))
    cached.look_up(row_keys(table(rows), ("meta", "split")))
    assert cached.notes() == ("15 rows taken from the earlier run, 5 computed",)
    assert CachedRows(ORIGIN, None).notes() == ()


def test_another_stage_and_damage_are_errors_with_a_way_out(tmp_path):
    row_cache = row_cache_of(tmp_path / "m", random_rows(20), {1: "x"})
    with pytest.raises(IntegrityError, match="stage scrub") as e:
        CachedRows(Origin(stage="screen", config="c"), row_cache)
    assert "reuse: null" in (e.value.hint or "")
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
    assert cached.look_up(row_keys(table(random_rows(3)))).new == [0, 1, 2]
