import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steps.engines.minhash.sets import jaccard

SETS = st.lists(st.sets(st.integers(0, 12)), max_size=6)


def as_array(members):
    return np.array(sorted(members), np.uint64)


@given(st.sets(st.integers(0, 12)), SETS)
def test_jaccard_against_python_sets(a, others):
    expected = [len(a & o) / len(a | o) if a | o else 1.0 for o in others]
    assert jaccard(as_array(a), [as_array(o) for o in others]).tolist() == expected
