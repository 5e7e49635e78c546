from hypothesis import given
from hypothesis import strategies as st

from steps.contracts.digests import MultisetDigest, canonical_json, short_id, value_digest


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
