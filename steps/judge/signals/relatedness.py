"""Signals that an answer belongs to another prompt, from the words that both have. English prose only.

A good answer takes up words of its prompt. How surely, depends on how many words there are that could be taken up:
by chance alone, common words are shared. So the words are counted that say what a text is about ("telling" ones), and
none of them shared is held against an answer only where both texts have many.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from steps.judge.signals.passage import Passage, carries_subject, stem

# Requests whose answer is made up, or says the same in other words.
_CREATIVE = re.compile(
    r"\b(?:story|stories|tale|poems?|haiku|limerick|songs?|lyrics|rap|jokes?|plots?|novel|monologue|soliloquy|dialogue"
    r"|scene|script|jingle|role ?play|play the (?:part|role)|pretend|imagine|invent|if you were|act as"
    r"|introduce yourself|style of|recite|continue|examples?|expand\w*|itinerar\w*|meal plan|translat\w*|rewrite"
    r"|rephrase|paraphrase|synonyms?|headline|title|categor\w*|classif\w*|topic|fill|complete|predict)\b"
)
# The wider kind, for the weaker signal: nothing need be taken up by a name, a list, a suggestion.
_OPEN = re.compile(
    r"\b(?:write|compose|tell|essay|create|brainstorm|generate|suggest|ideas?|name|recommend|list|what are some"
    r"|give me)\b"
)
# A list, a quotation or a labelled field from the first line on: no sentence there takes up the prompt.
_BARE = re.compile(r"^\W*(?:\d+[.):]|[-*•+]\s|[\"“]|[\w' ]{1,40}:\W{0,4}(?:\n|$))")
# Measured by benchmarks/bench_judge.py: 1 of 20,000 good pairs has so many chances to share a telling word and shares
# none, one in ten shuffled ones.
_PROMPT_STEMS, _ANSWER_STEMS, _CHANCES = 3, 12, 100
# Chosen: a short answer to a long passage may share no word with it and still be right.
_ENOUGH_STEMS, _ENOUGH_STEMS_FOR_LONG = 6, 10
_LONG_PROMPT_STEMS = 40


@cache
def common_stems() -> frozenset[str]:
    """Stems of the words that tell little: `common_words.txt`."""
    lines = (Path(__file__).parent / "common_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(stem(word) for line in lines if not line.startswith("#") for word in line.split())


def relatedness(answer: Passage, prompt: Passage, request: Passage) -> Iterator[str]:
    """Names of signals on an answer, given all text before it and the last user turn (`request`)."""
    if len(answer.words) < _ENOUGH_STEMS:
        return
    common, before = common_stems(), prompt.folded
    shared = False
    for word in answer.words:
        if carries_subject(word) and (s := stem(word)) in before:
            if s not in common:
                return
            shared = True
    if answer.is_code_or_data or not (answer.english and prompt.english) or _CREATIVE.search(request.folded):
        return
    if _unrelated(answer, prompt):
        yield "unrelated_to_prompt"
    elif not shared and _nothing_shared(answer, prompt) and not _OPEN.search(request.folded):
        yield "no_word_of_prompt"


def _unrelated(answer: Passage, prompt: Passage) -> bool:
    """Whether both texts have telling words, and no telling word of the prompt is in the answer."""
    wanted, there = prompt.stems - common_stems(), answer.stems - common_stems()
    if len(wanted) < _PROMPT_STEMS or len(there) < _ANSWER_STEMS or len(wanted) * len(there) < _CHANCES:
        return False
    if any(s in answer.folded for s in wanted) or prompt.figures & answer.figures:
        return False
    return not _BARE.match(answer.text.lstrip())


def _nothing_shared(answer: Passage, prompt: Passage) -> bool:
    enough = _ENOUGH_STEMS_FOR_LONG if len(prompt.stems) > _LONG_PROMPT_STEMS else _ENOUGH_STEMS
    return len(answer.stems) >= enough and len(prompt.stems) >= 2
