import json
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from steps.engines.graders.values import normalise, parse_json, same, shared_fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_same_is_equality_of_normalised_canonical_json(a, b):
    def canonical(value):
        if isinstance(value, str):
            return normalise(value)
        if isinstance(value, dict):
            return {k: canonical(v) for k, v in value.items()}
        return [canonical(v) for v in value] if isinstance(value, list) else value

    def dump(value):
        return json.dumps(canonical(value), sort_keys=True)

    assert same(a, b) == (dump(a) == dump(b))
    assert same(a, parse_json(json.dumps(a)))


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2)), st.dictionaries(st.sampled_from("abcdef"), JSON))
def test_field_accuracy_counts_the_references_fields(reference, answer):
    flat = {k: v for k, v in answer.items() if not isinstance(v, dict | bool)}
    found = shared_fields(flat, reference)
    if not reference:
        assert found is None
    else:
        right = sum(k in flat and flat[k] == v for k, v in reference.items())
        assert Fraction(found).limit_denominator(100) == Fraction(right, len(reference))
