"""Tokens of an answer as text while they come: reasoning apart from the final text, nothing that is taken back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps.engines.template.reasoning import CHANNELS, Markers, Reply

# What a decoder puts where the bytes of a character aren't all there.
_BROKEN = "\ufffd"
_FINAL = "<|channel|>final<|message|>"


@dataclass(frozen=True)
class Piece:
    """What has become certain since the last one."""

    reasoning: str = ""
    text: str = ""


class Transcript:
    """One answer. All its pieces in a row are `whole`."""

    def __init__(self, tokenizer: Any, markers: Markers, prompt: str, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._markers, self._prompt = tokenizer, markers, prompt
        self._stops = tuple(stops)
        self._ids: list[int] = []
        # Of a server that tells no ids.
        self._text, self._count = "", 0
        self._told = Reply("", "")
        self.stopped = False
        # Whatever a marker begins with may become one.
        self._watched = [m for pair in markers.tags for m in pair] + [*markers.special, *self._stops]
        self._longest = max(map(len, self._watched), default=0)
        self._first = frozenset(mark[0] for mark in self._watched)
        # The text of the tokens up to `_read`, which later ones don't change; decoded from `_window` on.
        self._settled, self._window, self._read = "", 0, 0

    @property
    def tokens(self) -> int:
        """How many were heard."""
        return len(self._ids) + self._count

    @property
    def ids(self) -> tuple[int, ...]:
        """Those that were heard."""
        return tuple(self._ids)

    def add(self, token: int) -> None:
        """Hear one more; `stopped` says whether a stop sequence is in the final text now."""
        self._ids.append(token)
        self._look()

    def add_text(self, text: str, tokens: int) -> None:
        """Hear what so many further tokens say, special ones with it; an answer is heard in one way only."""
        self._text += text
        self._count += tokens
        self._look()

    def _look(self) -> None:
        if self._stops:
            self.stopped = any(stop in self._reply(self._so_far()).text for stop in self._stops)

    def piece(self) -> Piece:
        """What can be told now that wasn't told before."""
        raw = self._so_far().rstrip(_BROKEN)
        tail = raw[len(raw) - self._longest :] if self._longest < len(raw) else raw
        held = 0 if self._first.isdisjoint(tail) else max(_overlap(raw, mark) for mark in self._watched)
        reply = self._cut(self._reply(raw[: len(raw) - held]))
        if self._markers.channels and CHANNELS in raw and _FINAL not in raw:
            reply = Reply(reply.reasoning, "")
        return self._tell(reply)

    def rest(self) -> Piece:
        """What wasn't told, when no more comes."""
        return self._tell(self.whole())

    def whole(self) -> Reply:
        """The answer as an evaluation has it, up to a stop sequence."""
        return self._cut(self._reply(self._raw()))

    def _raw(self) -> str:
        return self._text or self._decoded(self._ids)

    def _so_far(self) -> str:
        """The same, of which only the last tokens are decoded: what stands before them is known. They are decoded with
        a few before them, since tokenizers treat the first one otherwise.
        """
        if self._text or not self._ids:
            return self._text
        before, now = (self._decoded(self._ids[self._window : end]) for end in (self._read, len(self._ids)))
        new = _after(before, now)
        if not new or new.endswith(_BROKEN):
            return self._settled + new
        self._settled += new
        self._window, self._read = self._read, len(self._ids)
        return self._settled

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False)) if ids else ""

    def _reply(self, raw: str) -> Reply:
        return self._markers.split(self._prompt, raw.strip())

    def _cut(self, reply: Reply) -> Reply:
        ends = [at for stop in self._stops if (at := reply.text.find(stop)) >= 0]
        return Reply(reply.reasoning, reply.text[: min(ends)]) if ends else reply

    def _tell(self, reply: Reply) -> Piece:
        told, reasoning = self._told, reply.reasoning or ""
        more = Piece(_after(told.reasoning or "", reasoning), _after(told.text, reply.text))
        self._told = Reply((told.reasoning or "") + more.reasoning, told.text + more.text)
        return more


def _after(told: str, now: str) -> str:
    """What follows on what was told; nothing where the text began otherwise."""
    return now[len(told) :] if now.startswith(told) else ""


def _overlap(text: str, mark: str) -> int:
    """Characters at the end of a text that a mark begins with, short of all of it."""
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)
