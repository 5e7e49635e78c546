from steps.contracts.execution import Inline, Work


def plus(settings: int):
    return lambda item: item + settings


def test_work_is_done_here_in_order_and_only_when_it_is_wanted() -> None:
    taken: list[int] = []

    def items():
        for i in range(3):
            taken.append(i)
            yield i

    with Inline().open(Work(plus, 10, "adding")) as pool:
        results = pool.results(items())
        assert (next(iter(results)), taken) == (10, [0])
        assert list(results) == [11, 12]


def test_work_that_the_caller_has_prepared_is_taken_as_it_is() -> None:
    with Inline().open(Work(plus, 10, "adding"), here=lambda item: -item) as pool:
        assert list(pool.results([1, 2])) == [-1, -2]
    assert Inline().batch_rows is None
