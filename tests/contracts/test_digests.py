import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.contracts import digests
from steps.contracts.digests import (
    MultisetDigest,
    canonical_json,
    file_digest,
    folder_digests,
    short_id,
    text_digest,
    unchanged_file_digest,
    value_digest,
)


@given(st.lists(st.text()), st.randoms(use_true_random=False))
def test_multiset_digest_ignores_order_and_counts_copies(items: list[str], rng) -> None:
    encodable = [i for i in items if not any("\ud800" <= c <= "\udfff" for c in i)]
    one, two, more = MultisetDigest(), MultisetDigest(), MultisetDigest()
    shuffled = encodable[:]
    rng.shuffle(shuffled)
    one.update(encodable)
    two.update(shuffled)
    more.update([*encodable, "one more"])
    assert one.hexdigest() == two.hexdigest() != more.hexdigest()


def test_parts_of_an_id_are_kept_apart() -> None:
    assert short_id("ab", "c") != short_id("a", "bc")
    assert short_id("lone \ud800") != short_id("lone \ud801")


def test_key_order_does_not_matter() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'
    assert value_digest({"a": 1, "b": 2}) == value_digest({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_digests_are_the_standard_ones(tmp_path) -> None:
    # FIPS 180-2, example B.1: SHA-256 of "abc".
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert text_digest("abc") == abc
    assert value_digest("abc") == hashlib.sha256(b'"abc"').hexdigest()
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "a").write_bytes(b"abc")
    assert text_digest("\ud800") == hashlib.sha256(b"\xed\xa0\x80").hexdigest()
    # More than one piece of a mebibyte.
    long = b"x" * ((1 << 20) + 1)
    (folder / "b").write_bytes(long)
    assert folder_digests(folder) == {"b": hashlib.sha256(long).hexdigest(), "below/a": abc}
    assert file_digest(folder / "b") == hashlib.sha256(long).hexdigest()


def test_a_short_id_is_blake2b_of_parts_with_their_lengths() -> None:
    parts = (2).to_bytes(8, "little") + b"ab" + (2).to_bytes(8, "little") + "é".encode()
    assert short_id(b"ab", "é") == hashlib.blake2b(parts, digest_size=16).hexdigest()


def test_the_digest_of_a_multiset_is_the_sum_of_its_items_digests() -> None:
    items = ["a", "b", "b"]
    total = sum(int.from_bytes(hashlib.sha256(i.encode()).digest(), "little") for i in items) % 2**256
    by_hand = hashlib.sha256(total.to_bytes(32, "little") + (3).to_bytes(8, "little")).hexdigest()
    found = MultisetDigest()
    for item in items:
        found.add(item)
    assert found.hexdigest() == by_hand


def test_a_multiset_begins_at_nothing_and_wraps_at_256_bits() -> None:
    assert MultisetDigest().hexdigest() == hashlib.sha256(bytes(40)).hexdigest()
    found = MultisetDigest()
    found._sum = 2**256 - 1
    found.update(["a"])
    number = int.from_bytes(hashlib.sha256(b"a").digest(), "little") - 1
    assert found.hexdigest() == hashlib.sha256(number.to_bytes(32, "little") + (1).to_bytes(8, "little")).hexdigest()


def test_files_of_a_folder_stand_by_name(tmp_path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "empty").mkdir()
    assert list(folder_digests(tmp_path)) == ["a", "b", "c"]


def counting(monkeypatch, settled: int) -> list[Path]:
    """What is read from now on; a file counts as settled after so many nanoseconds."""
    read: list[Path] = []
    monkeypatch.setattr(digests, "file_digest", lambda path: (read.append(path), file_digest(path))[1])
    monkeypatch.setattr(digests, "_SETTLED_NS", settled)
    return read


def test_a_file_is_read_once_until_a_byte_of_it_changes_whatever_its_times_pretend(tmp_path, monkeypatch) -> None:
    read = counting(monkeypatch, settled=0)
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    assert [unchanged_file_digest(file) for _ in range(4)] == [text_digest("abc")] * 4
    assert read == [file]
    before = file.stat()
    time.sleep(0.05)  # longer than a tick of the file system's clock
    with file.open("r+b") as f:
        f.write(b"b")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert unchanged_file_digest(file) == text_digest("bbc")
    other = tmp_path / "other"
    other.write_bytes(b"cbc")
    other.replace(file)
    assert unchanged_file_digest(file) == text_digest("cbc")
    assert len(read) == 3


def test_a_file_that_was_just_written_is_read_each_time(tmp_path, monkeypatch) -> None:
    read = counting(monkeypatch, settled=60 * 10**9)
    file = tmp_path / "fresh"
    for text in ("abc", "bbc"):
        file.write_text(text)
        assert unchanged_file_digest(file) == unchanged_file_digest(file) == text_digest(text)
    assert len(read) == 4


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\t", "\ttrain", "\tvalidation", "x" * 23])
def test_strings_of_one_width_count_as_each_by_itself(end: str) -> None:
    ids = [short_id(str(n)) for n in range(37)]
    one, even = MultisetDigest(), MultisetDigest()
    one.update(f"{i}{end}" for i in ids)
    for some in (ids[:1], ids[1:17], ids[17:]):
        even.update_even(np.frombuffer("".join(some).encode(), np.uint8), 32, end)
    assert one.hexdigest() == even.hexdigest()
    even.update_even(np.zeros(0, np.uint8), 32, end)
    assert one.hexdigest() == even.hexdigest()
