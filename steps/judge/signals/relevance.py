"""Signals that an answer doesn't do what was asked."""

import re
from collections.abc import Iterator

from steps.judge.signals.passage import Passage
from steps.judge.signals.refusal import refuses
from steps.judge.signals.relatedness import relatedness

_FILLER = re.compile(
    r"^(?:\W*(?:lorem ipsum(?: dolor.*)?|foo(?: bar)?(?: baz)?|blah(?: blah)*|test(?: (?:test|\d+))+|placeholder|xxx+"
    r"|\[(?:insert|your)\b[^\]]{0,60}\]|<(?:insert|your)[ _-][^>]{0,60}>|[<\[][a-z _-]{0,30}\bhere[>\]])\W*"
    r"|[.?!_ -]+)$"
)
# "todo" is a word of Spanish and Portuguese.
_TODO = re.compile(r"^\W*(?:TODO|TBD|FIXME)\b[^\n]{0,60}$")
_LOREM = "lorem ipsum dolor"
_NULL = re.compile(r"^\W*(?:n/?a|null|none|undefined|nan|test)\W*$")
_SLOT = re.compile(
    r"\[(?:insert|your)\b[^\]\n]{0,40}\]|<(?:insert|your)[ _-][^>\n]{0,40}>|[<\[][a-z _-]{0,30}\bhere[>\]]"
)
_MASH_HINTS = tuple("asd sdf dfg fgh ghj hjk jkl qwe wer rty uio zxc xcv cvb vbn bnm".split())  # noqa: SIM905
_MASH = re.compile(rf"^(?:(?:{'|'.join(_MASH_HINTS)})[a-z]{{0,3}}){{1,4}}$")
_WANTS_JSON = re.compile(
    r"\b(?:as|in|into|with|return|output|valid|only) (?:a |an |one |valid |single |strict )*json\b"
    r"(?! (?:file|library|module|format in))"
)
_ASKS_HOW = re.compile(r"\b(?:how (?:do|can|to|would|should)|what is|why|difference|script|function|program)\b")
# Chosen: orders stand at the head of what comes before an answer, or in the request itself.
_ORDERS_CHARS = 600
_HEAD_CHARS = 2_000
# Chosen: what is longer is no mere filler.
_FILLER_CHARS = 100


def relevance(answer: Passage, prompt: Passage, request: Passage) -> Iterator[str]:
    """Names of signals on an answer, given all text before it and the last user turn (`request`)."""
    head = answer.folded[:_HEAD_CHARS]
    if refuses(answer):
        yield "refusal"
    if len(answer.words) >= 3 and answer.folded == request.folded:
        yield "repeats_the_request"
    yield from _filler(answer, head, prompt)
    mashed = any(hint in head for hint in _MASH_HINTS)
    if mashed and sum(bool(_MASH.match(w)) for w in answer.words[:200]) >= 0.5 * len(answer.words[:200]):
        yield "keyboard_mash"
    if not any(bracket in answer.head for bracket in "{[`") and _wants_json(prompt, request):
        yield "no_json_as_requested"
    yield from relatedness(answer, prompt, request)


def _filler(answer: Passage, head: str, prompt: Passage) -> Iterator[str]:
    """What stands in place of an answer; not where the prompt has the same words."""
    short = len(head) <= _FILLER_CHARS
    filler = short and (_FILLER.match(head) or _TODO.match(answer.text.strip())) and head not in prompt.folded
    if filler or (head.startswith(_LOREM) and _LOREM not in prompt.folded):
        yield "placeholder"
    elif short and _NULL.match(head) and head.strip(" .") not in prompt.folded:
        yield "null_value"
    elif ("[" in head or "<" in head) and (slot := _SLOT.search(head)) and slot[0] not in prompt.folded:
        yield "template_slot"


def _wants_json(prompt: Passage, request: Passage) -> bool:
    orders = f"{prompt.folded[:_ORDERS_CHARS]} {request.folded[:_ORDERS_CHARS]} {request.folded[-_ORDERS_CHARS:]}"
    return "json" in orders and bool(_WANTS_JSON.search(orders)) and not _ASKS_HOW.search(orders)
