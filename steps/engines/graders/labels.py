"""Which label an answer gives: it is one, or its words hold exactly one."""

from collections.abc import Sequence

from steps.engines.graders.classes import TOTALLY, WRONG
from steps.engines.graders.graded import DECLINED, Graded
from steps.engines.graders.graders import Grading, Words
from steps.engines.graders.values import normalise

ACCURACY = "accuracy"
# The places of labels among those of a task, in a row's scores; -1: the answer gives none. No metrics themselves.
WANTED, FOUND = "label_wanted", "label_found"
NO_LABEL = -1


def label_of(answer: str, labels: Sequence[str]) -> int:
    """The place of the label that an answer gives; NO_LABEL where it gives none, or several.

    A label that is a part of another one's words ("spam" in "not spam") counts only outside of it.
    """
    said = normalise(answer, ignore_case=True).strip(" .!\"'*`")
    for place, label in enumerate(labels):
        if said == normalise(label, ignore_case=True):
            return place
    left = f" {' '.join(Words().tokenize(answer))} "
    found = []
    for place in sorted(range(len(labels)), key=lambda i: -len(labels[i])):
        words = f" {' '.join(Words().tokenize(labels[place]))} "
        if words.strip() and words in left:
            found.append(place)
            left = left.replace(words, " | ")
    return found[0] if len(found) == 1 else NO_LABEL


def classified(answer: str, label: str, labels: Sequence[str], by: Grading) -> Graded:
    """Whether the answer gives the label; no label is a wrong one."""
    found, wanted = label_of(answer, labels), labels.index(label)
    declines = found == NO_LABEL and by.is_decline(answer)
    right = found == wanted
    scores: dict[str, float | None] = {ACCURACY: float(right), WANTED: float(wanted), FOUND: float(found)}
    scores |= {"unparsed": float(found == NO_LABEL), "over_declined": float(declines)}
    said = None if found == NO_LABEL else labels[found]
    outcome = TOTALLY if right else DECLINED if declines else WRONG
    return Graded(scores, outcome, {"label": label, "said": said})
