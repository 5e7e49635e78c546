"""What is right for a row and a chat template, worked out from the template alone.

The judge of what was encoded: it renders the inference prompt of every turn with transformers, and asks the tokens that
are to be trained whether they follow that prompt, and whether they are what the turn says with its end marker. It knows
nothing of how the code under test finds its spans.
"""

import datetime
import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal
from unittest.mock import patch

from support.families.families import Family, template, tokenizer
from support.families.rows import Fact, facts, said, said_in

from steps.contracts.records import Row
from steps.contracts.thinking import THINK_TAG, joined

Thinking = Literal["on", "off", "as_is"]
System = Literal["keep", "merge_into_user"]
# The day that templates are told where the config names none.
_DAY = datetime.datetime(2024, 7, 26)
_ANY = [{"role": "user", "content": "any"}]
_OPEN, _CLOSED = "<think>\n", "\n</think>\n\n"


class _Pinned(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        """The day."""
        return _DAY


class Unrenderable(Exception):
    """The template refuses the messages, in its own words."""


@dataclass(frozen=True)
class Tokens:
    """One training sequence: `labels[i]` is `ids[i]` where it is trained, else -100."""

    ids: Sequence[int]
    labels: Sequence[int]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The trained stretches, [start, end)."""
        on = [label >= 0 for label in self.labels]
        starts = [i for i, now in enumerate(on) if now and (i == 0 or not on[i - 1])]
        return [(a, next((i for i in range(a, len(on)) if not on[i]), len(on))) for a in starts]


@dataclass(frozen=True)
class Oracle:
    """The judge of one row under one family's template and settings."""

    family: Family
    row: Row
    thinking: Thinking = "as_is"
    system: System = "keep"

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """The row's messages as transformers documents them for chat templates."""
        stored = said(self.row)
        merged = []
        for places in self._places:
            message = self._message(stored[places[-1]])
            before = "".join(stored[i]["content"] + "\n\n" for i in places[:-1])
            merged.append({**message, "content": before + message["content"]} if before else message)
        return merged

    @cached_property
    def _places(self) -> list[list[int]]:
        """Per message, the stored ones that it is made of: its own, behind system messages that are merged into it."""
        made: list[list[int]] = []
        held: list[int] = []
        for i, m in enumerate(said(self.row)):
            if self.system == "merge_into_user" and m["role"] == "system":
                held.append(i)
            elif m["role"] == "user":
                made.append([*held, i])
                held = []
            else:
                made.append([i])
        return made

    def _message(self, m: Row) -> dict[str, Any]:
        made = {"role": m["role"], "content": m["content"]}
        made |= {"name": m["name"]} if m["name"] else {}
        made |= {"tool_call_id": self._id(m["tool_call_id"])} if m["tool_call_id"] else {}
        if m["tool_calls"]:
            made["tool_calls"] = [self._call(c) for c in json.loads(m["tool_calls"])]
        return made | self._reasoned(m)

    def _reasoned(self, m: Row) -> dict[str, Any]:
        """Reasoning under the template's name for it; in tags where it has none, and tags are meant or wanted."""
        if not m["reasoning"] or self.thinking == "off":
            return {}
        tag = json.loads(self.row["meta"]).get(THINK_TAG) or ("think" if self.thinking == "on" else None)
        if self.family.reasoning_key in template(self.family) or not tag:
            return {self.family.reasoning_key: m["reasoning"]}
        return {"content": joined(tag, m["reasoning"], m["content"])}

    def _id(self, id: str) -> str:
        """Ids of nine characters where the template takes no others."""
        return id if len(id) == 9 or not self.family.short_ids else hashlib.sha256(id.encode()).hexdigest()[:9]

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = call["function"]
        arguments = json.loads(function["arguments"])
        return {**call, "id": self._id(call["id"]), "function": {**function, "arguments": arguments}}

    @cached_property
    def turns(self) -> list[int]:
        """The turns that are to be trained: the assistant's, but those of weight 0, those that say nothing, and one
        that opens the conversation.
        """
        return [i for i in self._saying if any(m["role"] != "system" for m in self.messages[:i])]

    @cached_property
    def _saying(self) -> list[int]:
        stored = [said(self.row)[places[-1]] for places in self._places]
        turns = [i for i, m in enumerate(stored) if m["role"] == "assistant" and m["weight"] != 0]
        return [i for i in turns if stored[i]["content"].strip() or stored[i]["tool_calls"]]

    @cached_property
    def facts(self) -> list[Fact]:
        """What the row says; no reasoning where that is switched off. Places are those among `messages`, or between two
        of them: that of a system message that no user's follows.
        """
        place: dict[float, float] = {i: n for n, places in enumerate(self._places) for i in places} | {-1: -1}
        for i in range(len(said(self.row))):
            place.setdefault(i, max((n for j, n in place.items() if j < i), default=-1) + 0.5)
        found = [f for f in facts(self.row) if f.what != "reasoning" or self.thinking != "off"]
        return [replace(f, at=place[f.at]) for f in found]

    def _render(self, messages: list[dict[str, Any]], *, prompt: bool) -> str:
        from transformers.utils import chat_template_utils

        kwargs = {}
        if self.family.thinking_kwarg and self.thinking != "as_is":
            kwargs[self.family.thinking_kwarg] = self.thinking == "on"
        tools = json.loads(self.row["tools"]) if self.row["tools"] else None
        try:
            with patch.object(chat_template_utils, "datetime", _Pinned):
                # A conversation of none, which transformers itself asks no model, is rendered beside one.
                text = tokenizer(self.family).apply_chat_template(
                    messages or [[], _ANY], tools=tools, tokenize=False, add_generation_prompt=prompt, **kwargs
                )
        except Exception as e:  # whatever the template does: jinja's own errors and Python's from within it
            raise Unrenderable(str(e)) from e
        text = text if messages else text[0]
        return text + _CLOSED if prompt and self.thinking == "off" and text.endswith(_OPEN) else str(text)

    def prompt(self, turn: int) -> str:
        """What the model is given where it writes this turn.

        Raises:
            Unrenderable: nothing would be given, or the template refuses the messages before the turn.
        """
        text = self._render(self.messages[:turn], prompt=True)
        if not text:
            raise Unrenderable("the prompt is empty")
        return text

    def through(self, turn: int) -> str:
        """The conversation up to this turn and with it, as the template writes it down."""
        return self._render(self.messages[: turn + 1], prompt=False)

    def _ids(self, text: str, *, bos: bool = False) -> list[int]:
        return list(tokenizer(self.family)(text, add_special_tokens=bos)["input_ids"])

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(tokenizer(self.family).decode(ids, skip_special_tokens=False))

    def _said_before(self, turn: int) -> list[Fact]:
        """What must stand before a turn. How much of earlier thoughts, and of texts beside calls, the model is given is
        the template's choice: gpt-oss takes such texts for thoughts.
        """
        calls = {i for i, m in enumerate(self.messages) if "tool_calls" in m}
        before = [f for f in self.facts if f.at < turn and f.what != "reasoning"]
        return [f for f in before if f.at not in calls or f.what != "the assistant's content"]

    def _missing(self, text: str, wanted: list[Fact]) -> list[str]:
        return [f"{f.what} isn't there" for f in wanted if not said_in(f, text)]

    @property
    def _special(self) -> list[str]:
        return [t.content for t in tokenizer(self.family).added_tokens_decoder.values() if t.special]

    def obstacle(self) -> str | None:
        """Why no right sequence can be made of the row with this template; None where it can."""
        if self.row["kind"] == "document":
            return None
        if not self.turns:
            return "there is no turn behind a prompt to train"
        texts = [str(v) for m in said(self.row) for v in (m["content"], m["reasoning"], m["tool_calls"]) if v]
        if any(token in text for token in self._special for text in texts):
            return "a message holds a special token"
        return next(filter(None, map(self._obstacle, self.turns)), None)

    def _obstacle(self, turn: int) -> str | None:
        try:
            before, through = self.prompt(turn), self.through(turn)
        except Unrenderable as e:
            return f"the template refuses it: {e}"
        if not through.startswith(before):
            return "written down, the turn doesn't follow its prompt"
        found = self._missing(before, self._said_before(turn))
        found += self._missing(through[len(before) :], [f for f in self.facts if f.at == turn])
        return found[0] if found else None

    def faults(self, sequences: Sequence[Tokens], *, no_text_beside_calls: bool = False) -> list[str]:
        """What is wrong with the sequences that were made of the row; empty where nothing is.

        Args:
            no_text_beside_calls: the code says, and counts, that it leaves such text out.
        """
        if no_text_beside_calls:
            return replace(self, row=_without_text_beside_calls(self.row)).faults(sequences)
        if self.row["kind"] == "document":
            return self._document_faults(sequences)
        found: list[str] = []
        left = list(self._saying)
        for tokens in sequences:
            if any(b >= 0 and a != b for a, b in zip(tokens.ids, tokens.labels, strict=True)):
                found.append("a label isn't its token")
            for start, end in tokens.runs:
                turn = self._turn_after(tokens.ids[:start], left)
                if turn is None:
                    found.append(self._strange(tokens.ids[:start], tokens.ids[start:end]))
                    continue
                left.remove(turn)
                found += self._turn_faults(turn, tokens.ids[:start], tokens.ids[start:end])
        found += [f"turn {turn} isn't trained" for turn in left if turn in self.turns]
        return list(dict.fromkeys(found))

    def _turn_after(self, context: Sequence[int], turns: list[int]) -> int | None:
        """The turn whose inference prompt these tokens are."""
        for turn in turns:
            try:
                if self._ids(self.prompt(turn)) == list(context):
                    return turn
            except Unrenderable:
                continue
        return None

    def _strange(self, context: Sequence[int], trained: Sequence[int]) -> str:
        text, spoken = self._decoded(context)[-24:], self._decoded(trained)
        others = [i for i, m in enumerate(self.messages) if m["role"] == "assistant" and i not in self.turns]
        turn = self._turn_after(context, others)
        if turn is not None:
            return f"{_short(spoken)!r} is trained, which is turn {turn}: blank or of weight 0"
        return f"{_short(spoken)!r} is trained after {text!r}, which is no turn's inference prompt"

    def _turn_faults(self, turn: int, context: Sequence[int], trained: Sequence[int]) -> list[str]:
        before, spoken = self._decoded(context), self._decoded(trained)
        found = [f"{f} (turn {turn})" for f in self._missing(spoken, [f for f in self.facts if f.at == turn])]
        found += [f"{f} (before turn {turn})" for f in self._missing(before, self._said_before(turn))]
        if not spoken.rstrip().endswith(self.family.ends):
            found.append(f"turn {turn} ends in {spoken[-12:]!r}, no end marker")
        prompt, through = self.prompt(turn), self.through(turn)
        if through.startswith(prompt) and not _squashed(through[len(prompt) :]).startswith(_squashed(spoken)):
            found.append(f"turn {turn} trains {_short(spoken)!r}, not {_short(through[len(prompt) :])!r}")
        return found + self._bos_faults([*context, *trained], before)

    def _bos_faults(self, ids: Sequence[int], text: str) -> list[str]:
        bos = self.family.bos
        if bos is None:
            return []
        count = list(ids).count(tokenizer(self.family).convert_tokens_to_ids(bos))
        wanted = 1 if "bos_token" in template(self.family) else 0
        return [f"{count} BOS tokens where the template writes {wanted}"] if count != wanted else []

    def _document_faults(self, sequences: Sequence[Tokens]) -> list[str]:
        """A document is what the tokenizer makes of its text, with the BOS that it writes, and the EOS token."""
        wanted = [*self._ids(self.row["text"], bos=True), tokenizer(self.family).eos_token_id]
        if [list(s.ids) for s in sequences] != [wanted]:
            return [f"its tokens begin and end with {_ends(s.ids, self)}, not with {_ends(wanted, self)}"
                    for s in sequences]  # fmt: skip
        trained = sequences[0].labels[1 if self.family.writes_bos else 0 :]
        return [] if min(trained) >= 0 else ["some of its text isn't trained"]


def _ends(ids: Sequence[int], oracle: Oracle) -> str:
    return f"{oracle._decoded(ids[:1])!r} and {oracle._decoded(ids[-1:])!r}"


def _without_text_beside_calls(row: Row) -> Row:
    return {**row, "messages": [{**m, "content": ""} if m["tool_calls"] else m for m in row["messages"]]}


def _squashed(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).split())


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:30]}…{text[-28:]}"
