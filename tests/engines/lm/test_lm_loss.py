import random

import pytest
import torch

from steps.contracts.errors import InputError
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.loss import IGNORED, token_losses


def examples(count: int) -> list[tuple[list[int], list[int]]]:
    rng = random.Random(5)
    made = []
    for _ in range(count):
        ids = [rng.randrange(2, 62) for _ in range(rng.randint(1, 15))]
        made.append((ids, [t if rng.random() < 0.6 else IGNORED for t in ids]))
    return made


def by_hand(loaded: LoadedModel, ids: list[int], labels: list[int]) -> tuple[float, int]:
    total, counted = 0.0, 0
    for at in range(1, len(ids)):
        if labels[at] != IGNORED:
            with torch.no_grad():
                logits = loaded.model(input_ids=torch.tensor([ids[:at]])).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[labels[at]])
            counted += 1
    return total, counted


def test_sums_are_those_of_one_token_at_a_time(loaded: LoadedModel) -> None:
    given = examples(17)
    expected = [by_hand(loaded, *e) for e in given]
    assert sum(n for _, n in expected) > 40
    for batch_size in (1, 5, 17):
        found = token_losses(loaded, given, batch_size=batch_size)
        assert [n for _, n in found] == [n for _, n in expected]
        assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], abs=1e-3)


def test_first_token_and_ignored_tokens_are_not_counted(loaded: LoadedModel) -> None:
    assert token_losses(loaded, [([5], [5]), ([5, 6], [5, IGNORED])], batch_size=2) == [(0.0, 0), (0.0, 0)]


def test_refuses_labels_of_another_length(loaded: LoadedModel) -> None:
    with pytest.raises(InputError, match="differ in length"):
        token_losses(loaded, [([5, 6], [5])], batch_size=2)
