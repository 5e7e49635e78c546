"""Rows of every kind that fixed signals have something to say about, or nothing."""

import random

from support.textrows import chat, document, preference

from steps.contracts.records import Row

ANSWERS = (
    "The lamp costs 20 euros and is sent on Monday.", "", "no", "As an AI language model, I cannot help with that.",
    "word " * 60, "The sum of 2 and 2 is 5.", "It was sent on Monday, and then it", "Certainly! " * 9,
)  # fmt: skip


def random_rows(seed: int, n: int) -> list[Row]:
    dice = random.Random(seed)
    rows = []
    for number in range(n):
        question, answer = f"How much is lamp {dice.randint(1, n)}?", dice.choice(ANSWERS)
        kind = dice.random()
        if kind < 0.6:
            rows.append(chat(question, answer, locator=str(number)))
        elif kind < 0.8:
            rows.append(preference(question, answer, "no", locator=str(number)))
        else:
            rows.append(document(f"{question} {answer}", locator=str(number)))
    return rows
