"""Signals that a text contradicts itself or its source. Facts about the world can't be checked this way."""

import json
import re
from collections.abc import Iterator
from typing import Any

from steps.judge.signals.passage import Passage

_NUMBER = r"[$€£]?\d{1,3}(?:,\d{3})+(?:\.\d+)?%?|[$€£]?\d*\.?\d+%?"
_EQUATION = re.compile(
    rf"(?<![\w.,:)(^/*×÷=+%-])(?<![-+*/×÷xX^=\d] )(?<!and )((?:{_NUMBER})(?:\s*(?:[-+*/×÷]|x)\s*(?:{_NUMBER}))+)\s*=\s*"
    rf"(?:<<[^<>\n]*>>)?\s*(-?(?:{_NUMBER}))(?!\s*[-+*/×÷^=(x]|[\d.,]*[^\W\d]|[\d/:]|\ \d|\s*(?:cents?\b|¢))"
)
_ITEM = re.compile(rf"({_NUMBER})|([-+*/×÷x])")
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_FINAL = re.compile(r"####\s*(-?[\d,.]*\d)\s*$")
_ANY_NUMBER = re.compile(r"\d[\d,]*\.?\d*|\.\d+")
_IMPOSSIBLE_DATE = re.compile(
    r"\b(?:feb(?:ruary)?\.? (?:30|31)(?:st|th)?|(?:april|june|september|november) 31(?:st)?"
    r"|\d{4}-(?:1[3-9]|[2-9]\d)-\d{2}|\d{4}-\d{2}-(?:3[2-9]|[4-9]\d))\b"
)
# "000" and "0900" are pieces of a number or a time; "3 / 1/4" may divide by a fraction.
_PADDED = re.compile(r"0\d")
_FRACTIONS = re.compile(r"[/÷][^-+*×x]*[/÷]")
_OPERATORS = {"+": "+", "-": "-", "*": "*", "×": "*", "x": "*", "/": "/", "÷": "/"}
# Chosen: prose rounds on the way; a tenth of a per cent passes beside the last place shown.
_TOLERANCE = 0.001
_MOST_EQUATIONS = 200


def accuracy(answer: Passage, prompt: Passage) -> Iterator[str]:
    """Names of signals on a text, given what stands before it (an empty passage for a document)."""
    if "=" in answer.head and any(not holds(e) for e in equations(answer.head)):
        yield "wrong_arithmetic"
    if (final := _FINAL.search(answer.text)) and not _mentioned(final[1], answer.text[: final.start()]):
        yield "final_answer_not_derived"
    dated = "feb" in answer.folded or " 31" in answer.folded or answer.folded.count("-") >= 2
    if dated and _IMPOSSIBLE_DATE.search(answer.folded):
        yield "impossible_date"
    if answer.text.lstrip()[:1] in ("{", "["):
        yield from _extraction(answer, prompt)


def equations(text: str) -> Iterator[tuple[str, str]]:
    """Left and right side of each "3 * 4 + 1 = 13" in a text; currency signs and calculator notes are allowed."""
    plain = _ANNOTATION.sub("", text) if "<<" in text else text
    for count, match in enumerate(_EQUATION.finditer(plain)):
        if count >= _MOST_EQUATIONS:
            return
        yield match[1], match[2]


def holds(equation: tuple[str, str]) -> bool:
    """Whether both sides agree, within the rounding that the right side shows; True when it can't be told."""
    left, right = equation
    value = _evaluate(left)
    if value is None:
        return True
    shown = _number(right)
    # "20% = 0.2" and "20 / 100 = 20%" both name one number.
    scales = (1.0, 100.0, 0.01) if "%" in left or "%" in right else (1.0,)
    slack = _slack(left, right, value)
    return any(abs(value * s - shown) <= slack * max(s, 1.0) for s in scales)


def _slack(left: str, right: str, value: float) -> float:
    """How far apart both sides may be: nothing for sums and products of whole numbers, else the rounding shown."""
    divided = "/" in left or "÷" in left
    if not divided and "." not in left and "%" not in left:
        return 1e-9 * abs(value)
    last_place = 10.0 ** -len(right.rstrip("%").partition(".")[2])
    # A quotient may be cut off or rounded up (7 / 2 = 3, or 4 buses), other results are rounded to the nearest.
    return float(max(last_place if divided else last_place / 2, abs(value) * _TOLERANCE)) * (1 + 1e-9)


def _number(text: str) -> float:
    value = float(text.strip("$€£%- ").replace(",", ""))
    return -value if text.startswith("-") else value


def _evaluate(expression: str) -> float | None:
    """Products before sums, left to right; None when numbers and operators don't alternate, or a divisor is 0."""
    if _FRACTIONS.search(expression):
        return None
    total, term, pending, sign = 0.0, 0.0, "+", 1
    for i, (number, op) in enumerate(_ITEM.findall(expression)):
        if bool(number) != (i % 2 == 0) or _PADDED.match(number):
            return None
        if not number:
            pending = _OPERATORS[op]
            continue
        value = _number(number)
        if pending in "*/" and number.endswith("%"):
            value /= 100
        if pending == "*":
            term *= value
        elif pending == "/":
            if value == 0:
                return None
            term /= value
        else:
            total += sign * term
            term, sign = value, 1 if pending == "+" else -1
    return total + sign * term


def _mentioned(number: str, text: str) -> bool:
    """Whether a number's value stands in a text, however it is written."""
    if number in text:
        return True
    wanted = abs(_number(number.rstrip(".,")))
    return any(_number(found.rstrip(".,")) == wanted for found in _ANY_NUMBER.findall(text))


def _extraction(answer: Passage, prompt: Passage) -> Iterator[str]:
    """String values of a JSON answer that don't occur in the prompt. One may be a label; most is invention."""
    try:
        values = [v.strip().lower() for v in _strings(json.loads(answer.text)) if v.strip()]
    except (ValueError, RecursionError):
        return
    if not prompt.words or len(values) < 2:
        return
    missing = sum(v not in prompt.folded and not _stemmed_in(v, prompt) for v in values)
    if missing > 0.5 * len(values):
        yield "values_not_in_prompt"


def _stemmed_in(value: str, prompt: Passage) -> bool:
    words = Passage(value).stems
    return bool(words) and words <= prompt.stems


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
