"""The mask lint: whether a row's texts say what the row says, and its trained tokens are what the assistant generates.

It looks at each row before training, where a broken template or mask costs seconds instead of a run: a template that
drops messages, calls or tools, a prompt that inference would not give, a mask without tokens, a turn whose end is never
trained (the model would not stop), control tokens that a row smuggles in as text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import Row
from steps.contracts.reports import Histogram
from steps.engines.template.labelled import Labelled, label
from steps.engines.template.render import (
    IGNORED,
    ChatTemplate,
    Conversation,
    Encoded,
    PromptDiffersError,
    Rendered,
    conversation,
    document,
    is_trained,
    stored_messages,
)
from steps.engines.template.said import missing
from steps.engines.tokens.encode import Encoder
from steps.engines.tokens.tokens import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# reason code -> what it means and the way out
REASONS = {
    "no_assistant_turn": "no assistant turn, so nothing to train; drop such rows, or give them an answer",
    "blank_answer": "the assistant's turns are blank, so nothing to train; drop such rows, or give them an answer",
    "no_prompt": "the assistant opens the conversation and the template has no prompt for that; give it a user's turn",
    "no_trained_tokens": "no trained token; all turns have weight 0, or the template's {% generation %} markers hold"
    " nothing",
    "template_error": "the chat template refuses the row; set template.system: merge_into_user if it forbids system"
    " messages, or use a template that knows its roles and tools",
    "prompt_differs": "the template's prompt for a turn isn't how the template writes it in a conversation, so training"
    " and inference would differ; set template.thinking, or name another template as template.override",
    "control_token_in_text": "a message holds one of the tokenizer's special tokens as text; clean the source",
    "decode_differs": "decoding the tokens doesn't give the rendered text back; use the model's own tokenizer",
    "content_missing": "the template doesn't write what a message says; name another one as template.override",
    "system_missing": "the template doesn't write the system message; set template.system: merge_into_user, or drop",
    "call_missing": "the template doesn't write a tool call; name one that does as template.override",
    "tools_missing": "the template doesn't write the tools that the row offers; name one that does as"
    " template.override",
    "reasoning_missing": "the template doesn't write the reasoning of a trained turn; set template.thinking: on to"
    " train it in think tags (not beside a call whose text the template leaves out), off to leave it out",
    "mask_differs": "the trained tokens decode to something else than the trained text",
    "end_not_trained": "the end-of-turn token isn't trained, so the model would not learn to stop;"
    " put it inside {% generation %} … {% endgeneration %}",
}
# The same of answers to one prompt (answers.py).
ANSWER_REASONS = {
    "nothing_asked": "nothing stands before the answer that it could answer; give the row a user's turn",
    "equal_answers": "the chosen and the rejected answer are the same, so nothing tells them apart; drop such rows",
    "several_texts": "the turns of an answer can't stand in one text as they are generated; give the row a single turn",
}
# Chosen: a template that breaks every row is reported after this many, not after all.
_HOPELESS_ROWS = 500
_SHARE_BINS = 20
# Letters of a control token by which texts without one are told; most begin alike (<|).
_BEGINS = 2
# Fields of a message that a template may write.
_SAID = ("content", "reasoning", "name", "tool_calls")


@dataclass(frozen=True)
class Linted:
    """One row's sequences; there are none when `reason` (a key of REASONS) says that it can't be trained on."""

    sequences: tuple[Labelled, ...] = ()
    reason: str | None = None
    detail: str = ""
    # The prompt's end merged with the answer's first characters: trained as one token that inference never sees.
    boundary_merged: bool = False
    # What of the row is not trained or not written, with how often.
    left_out: Counter[str] = field(default_factory=Counter)
    # ids of the tokens that end its trained turns
    ends: frozenset[int] = frozenset()

    @property
    def encoded(self) -> tuple[Encoded, ...]:
        """The sequences in lists."""
        return tuple(s.listed() for s in self.sequences)


@dataclass(frozen=True)
class _Written:
    """A row as texts, which are still to be tokenised; or none, and why."""

    linted: Linted
    texts: tuple[Rendered, ...] = ()


@dataclass
class LintTotals:
    """Counts over all rows seen; shares are per usable row: trained tokens / tokens, from 0 to 1."""

    rows: int = 0
    usable: int = 0
    tokens: int = 0
    trained: int = 0
    sequences: int = 0
    boundary_merged: int = 0
    # rows by what of them is not trained or not written
    left_out: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    first_ids: dict[str, list[str]] = field(default_factory=dict)
    share_counts: list[int] = field(default_factory=lambda: [0] * _SHARE_BINS)
    # ids of the tokens that end a trained turn, with the number of rows that end so
    end_tokens: Counter[int] = field(default_factory=Counter)

    @property
    def unusable_rows(self) -> int:
        """Rows that can't be trained on."""
        return sum(self.unusable.values())

    def count(self, linted: Linted, record_id: str) -> None:
        """Count a row.

        Raises:
            TrainingDataError: not one of the first rows can be used.
        """
        self.rows += 1
        if linted.sequences:
            self._count(linted)
        else:
            reason = linted.reason or ""
            self.unusable[reason] += 1
            ids = self.first_ids.setdefault(reason, [])
            if len(ids) < 5:
                ids.append(record_id)
        if self.usable == 0 and self.rows >= _HOPELESS_ROWS:
            self.require(max_unusable_share=0.0)

    def _count(self, linted: Linted) -> None:
        self.usable += 1
        self.sequences += len(linted.sequences)
        self.boundary_merged += linted.boundary_merged
        if linted.left_out:
            self.left_out.update(linted.left_out.keys())
        tokens, trained = sum(len(s.input_ids) for s in linted.sequences), sum(s.trained for s in linted.sequences)
        self.tokens += tokens
        self.trained += trained
        self.share_counts[min(int(trained / tokens * _SHARE_BINS), _SHARE_BINS - 1)] += 1
        self.end_tokens.update(linted.ends)

    def require(self, *, max_unusable_share: float) -> None:
        """Raise TrainingDataError, with row ids and ways out, when too many rows are unusable or none is usable."""
        if self.usable and self.unusable_rows <= max_unusable_share * self.rows:
            return
        found = "; ".join(f"{n} × {r} (rows {', '.join(self.first_ids[r])})" for r, n in self.unusable.most_common())
        ways_out = REASONS | ANSWER_REASONS
        raise TrainingDataError(
            f"{self.unusable_rows} of {self.rows} rows can't be trained on: {found or 'there are no rows'}",
            where="mask lint",
            hint=" | ".join(f"{r}: {ways_out[r]}" for r, _ in self.unusable.most_common())
            or "check the split and kinds",
        )

    def share_histogram(self) -> Histogram:
        """Distribution of the share of trained tokens per usable row."""
        edges = tuple(float(e) for e in np.linspace(0, 1, _SHARE_BINS + 1))
        return Histogram(
            title="Trained tokens per row", unit="share of tokens", edges=edges, counts=tuple(self.share_counts)
        )


class Judge:
    """Encodes rows and judges them, each by itself."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: ChatTemplate,
        *,
        check_control_tokens: bool = True,
        many: bool = False,
    ) -> None:
        """`many`: so many rows are to come (`tokens.encode.MANY`) that compiling is worth its time."""
        self.tokenizer = tokenizer
        self.template = template
        self._encoder = Encoder(tokenizer, many=many)
        added = tokenizer.added_tokens_decoder
        self._added = {t.content: i for i, t in added.items()}
        self._ended = lru_cache(1024)(self._ended_by)
        self._longest = max(map(len, self._added), default=0)
        names = "|".join(re.escape(t) for t in sorted(self._added, key=len, reverse=True))
        self._beside = re.compile(rf"\s*({names})\s*") if names else None
        self._control = sorted({t.content for t in added.values() if t.special}) if check_control_tokens else []
        self._control_begins = sorted({c[:_BEGINS] for c in self._control})

    def __call__(self, rows: Sequence[Row]) -> list[Linted]:
        """What is to be said of each row."""
        written = [self._write(row) for row in rows]
        tokens = iter(self._encoder.encode([r.text for w in written for r in w.texts]))
        return [self._judge_texts(w, [next(tokens) for _ in w.texts]) if w.texts else w.linted for w in written]

    def _write(self, row: Row) -> _Written:
        if row["kind"] == "document":
            return _Written(Linted(), (document(self.tokenizer, row),))
        early = self._judge_messages(row)
        if early:
            return _Written(early)
        try:
            return self._judge_turns(row, conversation(row, self.template))
        except PromptDiffersError as e:
            return _Written(Linted(reason="prompt_differs", detail=e.what))
        except TrainingDataError as e:
            return _Written(Linted(reason="template_error", detail=e.what))

    def _judge_turns(self, row: Row, found: Conversation) -> _Written:
        if not found.turns:
            return _Written(Linted(reason="no_prompt" if found.left_out["opening turn"] else "no_trained_tokens"))
        gone = missing(row, found, self.template)
        if gone is not None:
            return _Written(Linted(reason=gone[0], detail=gone[1]))
        ends = self._ends(found)
        if ends is None:
            return _Written(Linted(reason="end_not_trained"))
        return _Written(Linted(left_out=found.left_out, ends=ends), found.texts)

    def _judge_messages(self, row: Row) -> Linted | None:
        messages = stored_messages(row)
        if not any(m["role"] == "assistant" for m in messages):
            return Linted(reason="no_assistant_turn")
        if not any(is_trained(m) for m in messages):
            blank = any(m["role"] == "assistant" and m.get("weight") != 0 for m in messages)
            return Linted(reason="blank_answer" if blank else "no_trained_tokens")
        hit = self._control_in(row["tools"]) if row["tools"] else None
        for m in messages:
            for name in _SAID:
                said = m.get(name)
                if said and not hit:
                    hit = self._control_in(said)
        return Linted(reason="control_token_in_text", detail=hit) if hit else None

    def _control_in(self, said: str) -> str | None:
        """The first control token in a text."""
        for begin in self._control_begins:
            if begin in said:
                return next((c for c in self._control if c in said), None)
        return None

    def _ends(self, found: Conversation) -> frozenset[int] | None:
        """The special or added tokens that end the trained turns; None when plain text ends one."""
        ends = set()
        for turn in found.turns:
            end = turn.spans[-1][1] if turn.spans else 0
            last = self._ended(turn.completion[max(end - self._longest, 0) : end])
            if last is None:
                return None
            ends.add(last)
        return frozenset(ends)

    def _ended_by(self, tail: str) -> int | None:
        """The longest added token that a text ends with."""
        return self._added.get(max((t for t in self._added if tail.endswith(t)), key=len, default=""))

    def _judge_texts(self, written: _Written, tokens: Sequence[Tokens]) -> Linted:
        sequences, merged = [], False
        for rendered, of_text in zip(written.texts, tokens, strict=True):
            try:
                found = label(of_text, rendered, self._added)
            except TrainingDataError as e:
                return Linted(reason="template_error", detail=e.what)
            if not found.trained:
                return Linted(reason="no_trained_tokens")
            if not found.exact:
                reason, longer = self._judge_decoded(found, rendered, of_text.spell)
                if reason:
                    return Linted(reason=reason)
                merged = merged or longer
            sequences.append(found)
        return Linted(tuple(sequences), None, "", merged, written.linted.left_out, written.linted.ends)

    def _judge_decoded(self, found: Labelled, rendered: Rendered, spelt: bool) -> tuple[str | None, bool]:
        """Why the decoded tokens aren't the text, and whether more is trained than wanted."""
        if not spelt and not self._same(self._decode(found.input_ids.tolist()), rendered.bos + rendered.text):
            return "decode_differs", False
        wanted = unicodedata.normalize("NFC", "".join(rendered.text[a:b] for a, b in rendered.spans))
        decoded = unicodedata.normalize("NFC", self._decode([i for i in found.labels.tolist() if i != IGNORED]))
        if "".join(decoded.split()) != "".join(wanted.split()):
            return "mask_differs", False
        # SentencePiece decoders lose a first space; more white space than wanted came in with a straddling token.
        return None, len(decoded) > len(wanted)

    def _same(self, decoded: str, text: str) -> bool:
        """Whether a text comes back, up to Unicode's normal form (Qwen's tokenizer writes NFC) and white space beside
        special tokens, which some of them swallow (Phi-3) and SentencePiece's decoders add."""
        if decoded == text:
            return True
        decoded, text = (unicodedata.normalize("NFC", t).strip() for t in (decoded, text))
        return decoded == text or (
            self._beside is not None and self._beside.sub(r"\1", decoded) == self._beside.sub(r"\1", text)
        )

    def _decode(self, ids: list[int]) -> str:
        # The backend's own call: transformers' wrapper looks at every id in Python (a third of the lint's time).
        return str(self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False))
