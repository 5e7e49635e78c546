"""Reasoning in an answer, told from its final text by the markers of the model's template.

Two forms. Tags: `<think>reasoning</think>final`, under the names that families use. Channels: harmony's
`<|channel|>analysis<|message|>reasoning<|end|>` before `<|channel|>final<|message|>final` (gpt-oss).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# What opens and closes reasoning, as families write it.
TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought", "<channel|>"),
)
_USUAL = 2
CHANNELS = "<|channel|>"
_FINAL = "<|channel|>final<|message|>"
_ANALYSIS = re.compile(r"<\|channel\|>analysis<\|message\|>(.*?)(?:<\|end\|>|<\|return\|>|<\|call\|>|$)", re.DOTALL)
_CALL = re.compile(r"to=\S+?<\|channel\|>|<\|channel\|>commentary", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """An answer in its parts, without special tokens. `text` is "" where the reasoning never ended."""

    reasoning: str | None
    text: str


@dataclass(frozen=True)
class Markers:
    """How reasoning stands in a model's answers.

    Attributes:
        tags: pairs of what opens and what closes it.
        channels: whether the answer is in harmony's channels.
        special: the tokens that are no text, longest first.
    """

    tags: tuple[tuple[str, str], ...] = ()
    channels: bool = False
    special: tuple[str, ...] = ()

    def split(self, prompt: str, raw: str) -> Reply:
        """The parts of an answer, from its text with special tokens and up to its end marker.

        Args:
            prompt: what it answers; where that ends in an opened block, the answer begins in reasoning.
        """
        if self.channels and CHANNELS in raw:
            return self._by_channel(raw)
        for opens, closes in self.tags:
            begun = prompt.rstrip().endswith(opens)
            head, found, rest = raw.partition(opens)
            if begun or (found and not self._plain(head)):
                inside, closed, final = (raw if begun else rest).partition(closes)
                return Reply(self._plain(inside) or None, self._plain(final) if closed else "")
        return Reply(None, self._plain(raw))

    def _by_channel(self, raw: str) -> Reply:
        thoughts = [self._plain(t) for t in _ANALYSIS.findall(raw)]
        reasoning = "\n".join(t for t in thoughts if t) or None
        if _FINAL in raw:
            return Reply(reasoning, self._plain(raw.rpartition(_FINAL)[2]))
        call = _CALL.search(raw)
        return Reply(reasoning, self._plain(raw[call.start() :]) if call else "")

    def _plain(self, text: str) -> str:
        for token in self.special:
            text = text.replace(token, "")
        return text.strip()


def markers_of(template: str, special: Sequence[str], asked: Sequence[tuple[str, str]] = ()) -> Markers:
    """The markers that are asked for, else think tags, which rows have under any template, and the others that the
    template's text holds.
    """
    in_text = (pair for pair in TAGS[_USUAL:] if pair[0] in template or pair[1] in template)
    tags = tuple(asked) or (*TAGS[:_USUAL], *in_text)
    plain = tuple(sorted({*special} - {m for pair in tags for m in pair}, key=lambda t: (-len(t), t)))
    return Markers(tags, not asked and _harmony(template), plain)


def _harmony(template: str) -> bool:
    return CHANNELS + "final" in template or CHANNELS + "analysis" in template
