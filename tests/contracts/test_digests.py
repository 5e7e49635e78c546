import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.contracts.digests import (
    MultisetDigest,
    canonical_json,
    file_digest,
    folder_digests,
    short_id,
    text_digest,
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
