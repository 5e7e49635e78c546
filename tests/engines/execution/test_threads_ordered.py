"""Work on several threads comes back in order, and little of it is in hand at once."""

import threading
from collections.abc import Iterator

import pytest

from steps.engines.execution.threads import cores, ordered


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads: int | None) -> None:
    assert list(ordered(lambda n: n * n, range(200), threads)) == [n * n for n in range(200)]
    assert list(ordered(str, [], threads)) == []


def test_a_slow_first_item_still_comes_first() -> None:
    second_began = threading.Event()

    def work(n: int) -> int:
        if n == 0:
            assert second_began.wait(60)
        second_began.set()
        return n

    assert list(ordered(work, range(4), threads=2)) == [0, 1, 2, 3]


@pytest.mark.parametrize("threads", [1, 3])
def test_few_items_are_taken_before_their_results_are_wanted(threads: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield taken

    for done, result in enumerate(ordered(lambda n: n, items(), threads)):
        assert result == done + 1
        assert taken <= result + threads


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_reaches_the_caller_at_its_place(threads: int) -> None:
    results = ordered(lambda n: 10 // n, [5, 2, 0, 1], threads)
    assert [next(results), next(results)] == [2, 5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_this_process_has_a_core() -> None:
    assert cores() >= 1
