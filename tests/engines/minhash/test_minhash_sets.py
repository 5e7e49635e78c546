from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.contracts.errors import StorageError
from steps.engines.minhash.sets import SpilledSets, jaccard

SETS = st.lists(st.sets(st.integers(0, 12)), max_size=6)


def as_array(members):
    return np.array(sorted(members), np.uint64)


@given(st.sets(st.integers(0, 12)), SETS)
def test_jaccard_against_python_sets(a, others):
    expected = [len(a & o) / len(a | o) if a | o else 1.0 for o in others]
    assert jaccard(as_array(a), [as_array(o) for o in others]).tolist() == expected


def test_sets_come_back_as_they_were_and_the_file_goes(tmp_path):
    members = [as_array(m) for m in ({1, 2, 3}, set(), {2**63, 5})]
    with SpilledSets(tmp_path / "new" / "sets.partial") as sets:
        for m in members:
            sets.append(m)
        sets.freeze()
        assert len(sets) == 3
        assert [sets.get(i).tolist() for i in range(3)] == [m.tolist() for m in members]
        assert sets.size(np.array([0, 1, 2])).tolist() == [3, 0, 2]
    assert not (tmp_path / "new" / "sets.partial").exists()


def test_the_file_goes_after_an_error_too(tmp_path):
    with pytest.raises(ZeroDivisionError), SpilledSets(tmp_path / "s") as sets:
        sets.append(as_array({1}))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(StorageError), SpilledSets(tmp_path / "s") as sets:
        sets._file.close()
        with Path("/dev/full").open("wb") as full:
            sets._file = full
            sets.append(np.arange(100_000, dtype=np.uint64))
            sets.freeze()
