"""Signals that an answer doesn't do what was asked."""

import re
from collections.abc import Iterator

from steps.judge.signals.passage import Finding, Passage, carries_subject, stem

_REFUSAL = re.compile(
    r"\bas an? (?:artificial intelligence|ai|large language|language)\b(?: language)?(?: model| assistant)?"
    r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence|language model)\b"
    r"|\bi(?:'m| am) (?:sorry|afraid),? (?:but )?(?:that )?i"
    r"(?: can(?:no|')t| am unable| am not able|'m unable|'m not able)"
    r"|^\W*i(?: can(?:no|')t| (?:am|was) (?:unable|not able) to|'m (?:unable|not able) to| won't) "
    r"(?:assist|help|provide|fulfil|complete|comply|answer|do that|access|browse|open|process|read|see|view)\b"
)
_PLACEHOLDER = re.compile(
    r"lorem ipsum|dolor sit amet|\b(?:todo|tbd|fixme|placeholder)\b\W*$"
    r"|^\W*(?:test(?: (?:test|\d+))*|foo(?: bar)?(?: baz)?|blah(?: blah)*)\W*$"
    r"|^\W*(?:n/?a|null|none|undefined|nan|xxx+|[.?!-]+)\W*$"
    r"|\[(?:insert|your)\b[^\]\n]{0,40}\]|<(?:insert|your)[ _-][^>\n]{0,40}>|[<\[][a-z _-]{0,30}\bhere[>\]]"
)
# Plain substrings, one of which every long match holds: ten times faster to look for than the patterns.
_REFUSAL_HINTS = ("as a", "i'm ", "i am ", "i can", "i won't")
_PLACEHOLDER_HINTS = ("lorem", "dolor", "todo", "tbd", "fixme", "placeholder", "[", "<", "xxx", "blah", "test", "...")
_MASH_HINTS = tuple("asd sdf dfg fgh ghj hjk jkl qwe wer rty uio zxc xcv cvb vbn bnm".split())  # noqa: SIM905
_MASH = re.compile(rf"^(?:(?:{'|'.join(_MASH_HINTS)})[a-z]{{0,3}}){{1,4}}$")
_WANTS_JSON = re.compile(
    r"\b(?:as|in|into|with|return|output|valid|only) (?:a |an |one |valid |single |strict )*json\b"
    r"(?! (?:file|library|module))"
)
_ASKS_HOW = re.compile(r"\b(?:how (?:do|can|to|would|should)|what is|why|difference)\b")
# Chosen: orders stand at the head of what comes before an answer, or in the request itself.
_ORDERS_CHARS = 600
# Requests whose answer needn't share words with them, or is in another language.
_OPEN = re.compile(
    r"\b(?:write|compose|tell|story|poem|song|joke|essay|create|invent|imagine|brainstorm|generate|suggest|ideas?"
    r"|plot|predict|title|headline|name|translat\w*|rewrite|paraphrase|synonyms?|continue|recommend|topic|category|classify)\b"
)
# Chosen on T0: a short answer to a long passage may share no word with it and still be right.
_ENOUGH_STEMS, _ENOUGH_STEMS_FOR_LONG = 6, 10
_LONG_PROMPT_STEMS = 40


def relevance(answer: Passage, prompt: Passage, request: Passage, penalize_refusals: bool) -> Iterator[Finding]:
    """Findings on an answer, given all text before it and the last user turn (`request`)."""
    head = answer.folded[:2000].replace("’", "'")
    refuses = penalize_refusals and any(hint in head for hint in _REFUSAL_HINTS)
    if refuses and (found := _REFUSAL.search(head)) and (found.start() < 200 or len(head) < 400):
        yield "refusal", 1
    if len(answer.words) >= 3 and answer.folded == request.folded:
        yield "repeats_the_request", 1
    filled = len(head) > 60 and not any(hint in head for hint in _PLACEHOLDER_HINTS)
    if not filled and (found := _PLACEHOLDER.search(head)) and not prompt.folded.count(found[0].strip()):
        yield "placeholder", 1
    mashed = any(hint in head for hint in _MASH_HINTS)
    if mashed and sum(bool(_MASH.match(w)) for w in answer.words[:200]) >= 0.5 * len(answer.words[:200]):
        yield "keyboard_mash", 1
    if not any(bracket in answer.head for bracket in "{[`") and _wants_json(prompt, request):
        yield "no_json_as_requested", 1
    yield from _overlap(answer, prompt, request)


def _wants_json(prompt: Passage, request: Passage) -> bool:
    orders = f"{prompt.folded[:_ORDERS_CHARS]} {request.folded[:_ORDERS_CHARS]} {request.folded[-_ORDERS_CHARS:]}"
    return "json" in orders and bool(_WANTS_JSON.search(orders)) and not _ASKS_HOW.search(orders)


def _overlap(answer: Passage, prompt: Passage, request: Passage) -> Iterator[Finding]:
    """No subject word of a prose answer occurs before it. Only for English, and not for open requests."""
    before = prompt.folded
    if any(stem(w) in before for w in answer.words if carries_subject(w)):
        return
    enough = _ENOUGH_STEMS_FOR_LONG if len(prompt.stems) > _LONG_PROMPT_STEMS else _ENOUGH_STEMS
    if len(answer.stems) < enough or len(prompt.stems) < 2:
        return
    if answer.is_code_or_data or not (answer.english and prompt.english):
        return
    if not _OPEN.search(request.folded):
        yield "unrelated_to_prompt", 1
