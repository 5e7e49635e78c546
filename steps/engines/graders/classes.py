"""What became of an answer in one word: totally correct, partially correct, wrong, or declined."""

from collections.abc import Mapping

TOTALLY, PARTIALLY, WRONG = "totally_correct", "partially_correct", "wrong"
CLASSES = (TOTALLY, PARTIALLY, WRONG)
# Graders that say that all of an answer is right, and those that say how much of it.
_WHOLE, _SHARES = ("exact_match", "numeric", "contains"), ("field_accuracy", "rouge_l")
# Chosen: an answer that shares half of its longest common subsequence's F1 with the reference says part of it.
_HALF = 0.5


def classes_of(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    """1 for the class that it is of and 0 for the others, by its other scores; all 0 where it was declined that had an
    answer (`over_declined`), None where nothing was compared, or where declining was right.
    """
    whole = [v for name in _WHOLE if (v := scores.get(name)) is not None]
    shares = [v for name in _SHARES if (v := scores.get(name)) is not None]
    if scores.get("declined") is not None or (not whole and not shares):
        return dict.fromkeys(CLASSES)
    if scores.get("over_declined"):
        return dict.fromkeys(CLASSES, 0.0)
    right = 1.0 in whole or 1.0 in shares
    partly = (not right and (scores.get("field_accuracy") or 0.0) > 0) or (scores.get("rouge_l") or 0.0) >= _HALF
    found = TOTALLY if right else PARTIALLY if partly else WRONG
    return {name: float(name == found) for name in CLASSES}
