"""The mask lint: whether a row's trained tokens are what the assistant says and its end marker, nothing else.

It looks at each row before training, where a broken template or mask costs seconds instead of a run: a template that
drops messages, a mask without tokens, a turn whose end is never trained (the model would not stop), control tokens
that a row smuggles in as text.
"""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import Row
from steps.contracts.reports import Histogram
from steps.engines.template.render import (
    Encoded,
    Rendered,
    TrainingTemplate,
    chat_messages,
    is_trained,
    render,
    tokenize,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# reason code -> what it means and the way out
REASONS = {
    "no_assistant_turn": "no assistant turn, so nothing to train; drop such rows, or give them an answer",
    "no_trained_tokens": "no trained token; check the {% generation %} markers of the chat template",
    "template_error": "the chat template refuses the row; use a template that knows its roles and tools",
    "control_token_in_text": "a message holds one of the tokenizer's special tokens as text; clean the source",
    "decode_differs": "decoding the tokens doesn't give the rendered text back; use the model's own tokenizer",
    "assistant_text_differs": "the trained text isn't what the assistant says; the template drops or rewrites turns",
    "mask_differs": "the trained tokens decode to something else than the trained text",
    "end_not_trained": "the end-of-turn token isn't trained, so the model would not learn to stop;"
    " put it inside {% generation %} … {% endgeneration %}",
}
# Chosen: a template that breaks every row is reported after this many, not after all.
_HOPELESS_ROWS = 500
_SHARE_BINS = 20


@dataclass(frozen=True)
class Linted:
    """One row's result: `encoded` is None when `reason` (a key of REASONS) says that it can't be trained on."""

    encoded: Encoded | None
    reason: str | None = None
    detail: str = ""
    # The prompt's end merged with the answer's first characters: trained as one token that inference never sees.
    boundary_merged: bool = False


@dataclass
class LintTotals:
    """Counts over all rows seen; shares are per usable row: trained tokens / tokens, from 0 to 1."""

    rows: int = 0
    usable: int = 0
    tokens: int = 0
    trained: int = 0
    boundary_merged: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    first_ids: dict[str, list[str]] = field(default_factory=dict)
    share_counts: list[int] = field(default_factory=lambda: [0] * _SHARE_BINS)
    # ids of the tokens that end a trained turn, with the number of rows that end so
    end_tokens: Counter[int] = field(default_factory=Counter)

    @property
    def unusable_rows(self) -> int:
        """Rows that can't be trained on."""
        return sum(self.unusable.values())

    def share_histogram(self) -> Histogram:
        """Distribution of the share of trained tokens per usable row."""
        edges = tuple(float(e) for e in np.linspace(0, 1, _SHARE_BINS + 1))
        return Histogram(
            title="Trained tokens per row", unit="share of tokens", edges=edges, counts=tuple(self.share_counts)
        )


class Lint:
    """Checks rows one by one and keeps the totals.

    Args:
        check_control_tokens: whether special tokens in message text make a row unusable.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", template: TrainingTemplate, *, check_control_tokens: bool = True
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.totals = LintTotals()
        self._special = frozenset(tokenizer.all_special_ids)
        self._added = frozenset(tokenizer.added_tokens_decoder)
        specials = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
        self._control = sorted(specials) if check_control_tokens else []

    def check(self, row: Row) -> Linted:
        """Encode one row and judge it."""
        result = self._judge(row)
        t = self.totals
        t.rows += 1
        if result.encoded is None:
            reason = result.reason or ""
            t.unusable[reason] += 1
            ids = t.first_ids.setdefault(reason, [])
            if len(ids) < 5:
                ids.append(row["record_id"])
        else:
            self._count(result.encoded, result.boundary_merged)
        if t.usable == 0 and t.rows >= _HOPELESS_ROWS:
            self.require(max_unusable_share=0.0)
        return result

    def _count(self, encoded: Encoded, merged: bool) -> None:
        t = self.totals
        t.usable += 1
        t.boundary_merged += merged
        t.tokens += len(encoded.input_ids)
        t.trained += encoded.trained
        share = encoded.trained / len(encoded.input_ids)
        t.share_counts[min(int(share * _SHARE_BINS), _SHARE_BINS - 1)] += 1
        end = self._end_token(encoded)
        if end is not None:
            t.end_tokens[end] += 1

    def require(self, *, max_unusable_share: float) -> None:
        """Raise TrainingDataError, with row ids and ways out, when too many rows are unusable or none is usable."""
        t = self.totals
        if t.usable and t.unusable_rows <= max_unusable_share * t.rows:
            return
        found = "; ".join(f"{n} × {r} (rows {', '.join(t.first_ids[r])})" for r, n in t.unusable.most_common())
        raise TrainingDataError(
            f"{t.unusable_rows} of {t.rows} rows can't be trained on: {found or 'there are no rows'}",
            where="mask lint",
            hint=" | ".join(f"{r}: {REASONS[r]}" for r, _ in t.unusable.most_common()) or "check the split and kinds",
        )

    def _judge(self, row: Row) -> Linted:
        if row["kind"] != "document":
            early = self._judge_messages(row)
            if early:
                return early
        try:
            rendered = render(self.tokenizer, row, self.template)
        except TrainingDataError as e:
            return Linted(None, "template_error", e.what)
        encoded = tokenize(self.tokenizer, rendered)
        if not encoded.trained:
            return Linted(None, "no_trained_tokens")
        if not _same(self._decode(encoded.input_ids), rendered.text):
            return Linted(None, "decode_differs")
        return self._judge_mask(row, rendered, encoded)

    def _judge_messages(self, row: Row) -> Linted | None:
        messages = chat_messages(row, self.template.text)
        if not any(m["role"] == "assistant" for m in messages):
            return Linted(None, "no_assistant_turn")
        for m in messages:
            said = m["content"] + m.get("reasoning_content", "")
            hit = next((c for c in self._control if c in said), None)
            if hit:
                return Linted(None, "control_token_in_text", hit)
        return None

    def _judge_mask(self, row: Row, rendered: Rendered, encoded: Encoded) -> Linted:
        wanted = "".join(rendered.text[a:b] for a, b in rendered.spans)
        if row["kind"] != "document" and not _says(rendered, row, self.template.text):
            return Linted(None, "assistant_text_differs")
        trained = [label for label in encoded.labels if label >= 0]
        decoded = self._decode(trained)
        if self._end_token(encoded) is None:
            return Linted(None, "end_not_trained")
        wanted, decoded = unicodedata.normalize("NFC", wanted), unicodedata.normalize("NFC", decoded)
        if "".join(decoded.split()) != "".join(wanted.split()):
            return Linted(None, "mask_differs")
        # SentencePiece decoders lose a first space; more white space than wanted came in with a straddling token.
        return Linted(encoded, boundary_merged=len(decoded) > len(wanted))

    def _decode(self, ids: list[int]) -> str:
        # The backend's own call: transformers' wrapper looks at every id in Python (a third of the lint's time).
        return str(self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False))

    def _end_token(self, encoded: Encoded) -> int | None:
        """The special or added token that ends the last trained turn; None when plain text ends it."""
        for label in reversed(encoded.labels):
            if label < 0:
                continue
            if label in self._special or label in self._added:
                return label
            if self._decode([label]).strip():
                return None
        return None


def _same(decoded: str, text: str) -> bool:
    # Tokenizers may normalise (Qwen's to NFC), and SentencePiece decoders add or lose the first space.
    return (
        decoded == text or unicodedata.normalize("NFC", decoded).strip() == unicodedata.normalize("NFC", text).strip()
    )


def _says(rendered: Rendered, row: Row, template: str) -> bool:
    """Whether the spans hold what the assistant says and is trained on, in order (templates may trim white space)."""
    answers = (str(m["content"]).strip() for m in chat_messages(row, template) if m["role"] == "assistant")
    contents = [text for text, wanted in zip(answers, is_trained(row), strict=True) if wanted]
    spans = [rendered.text[a:b] for a, b in rendered.spans]
    return len(contents) == len(spans) and all(c in s for c, s in zip(contents, spans, strict=True))
