"""Quality rules: length, required and forbidden patterns, keywords, repetition."""

import re
from collections.abc import Callable, Sequence

from steps.contracts.errors import MissingDependencyError
from steps.contracts.records import Row, text_of
from steps.engines.scan.patterns import Pattern, PatternSet
from steps.engines.text.normalise import words
from steps.screen.config import RulesConfig
from steps.screen.repetition import first_excess
from steps.screen.webrules import first_preset_failure

Failure = tuple[str, float | None]


class Rules:
    """The configured rules, compiled."""

    def __init__(self, config: RulesConfig) -> None:
        self.config = config
        self._count = _token_counter(config.tokenizer)
        self._forbidden = _patterns(config.forbidden, "forbidden")
        self._required = _patterns(config.required, "required")
        self._drop = _keywords(config.drop_keywords, "drop_keywords")
        self._keep = _keywords(config.keep_keywords, "keep_keywords")

    def first_failure(self, row: Row) -> Failure | None:
        """(reason, measured value) of the first rule that the row fails; None when it passes all."""
        text = text_of(row)
        return self._length(row, text) or self._content(text) or self._repetition(row) or self._preset(row)

    def _length(self, row: Row, text: str) -> Failure | None:
        return self._characters(row, len(text)) or self._tokens(text)

    def _characters(self, row: Row, size: int) -> Failure | None:
        c = self.config
        if size < c.min_characters:
            return "too_few_characters", size
        if c.max_characters is not None and size > c.max_characters:
            return "too_many_characters", size
        shortest = min((len(a.strip()) for a in _answers(row)), default=None)
        if shortest is not None and shortest < c.min_answer_characters:
            return "short_answer", shortest
        return None

    def _tokens(self, text: str) -> Failure | None:
        c = self.config
        if c.min_tokens is None and c.max_tokens is None:
            return None
        tokens = self._count(text)
        if c.min_tokens is not None and tokens < c.min_tokens:
            return "too_few_tokens", tokens
        if c.max_tokens is not None and tokens > c.max_tokens:
            return "too_many_tokens", tokens
        return None

    def _content(self, text: str) -> Failure | None:
        if forbidden := self._forbidden.matching(text):
            return f"forbidden_pattern.{forbidden[0]}", None
        missing = len(self._required.patterns) - len(self._required.matching(text))
        if missing:
            return "required_pattern_missing", missing
        if self._drop.hits(text):
            return "drop_keyword", None
        if self._keep.patterns and not self._keep.hits(text):
            return "no_keep_keyword", None
        return None

    def _preset(self, row: Row) -> Failure | None:
        """Web rules concern documents: a good answer may be one short line, or hold a curly bracket."""
        return first_preset_failure(row["text"] or "", self.config) if row["kind"] == "document" else None

    def _repetition(self, row: Row) -> Failure | None:
        if self.config.repetition is None:
            return None
        bounds = self.config.repetition
        min_words = bounds.min_words if row["kind"] == "document" else bounds.min_answer_words
        for text in _written(row):
            if excess := first_excess(text, bounds, min_words):
                return f"repetition.{excess[0]}", excess[1]
        return None


def _answers(row: Row) -> list[str]:
    """What a model learns to say: the last assistant turn, or both continuations; a tool call counts as text."""
    if row["kind"] == "document":
        return []
    if row["kind"] == "preference":
        return ["".join(m["content"] for m in row[side]) for side in ("chosen", "rejected")]
    turns = [m["content"] + (m["tool_calls"] or "") for m in row["messages"] if m["role"] == "assistant"]
    return turns[-1:] or [""]


def _written(row: Row) -> list[str]:
    """Texts that are measured for repetition: documents and what the assistant says."""
    if row["kind"] == "document":
        return [row["text"] or ""]
    return [m["content"] for m in [*row["messages"], *row["chosen"]] if m["role"] == "assistant"]


def _token_counter(tokenizer: str | None) -> Callable[[str], int]:
    if tokenizer is None:
        return lambda text: len(words(text, symbols=True))
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as e:
        raise MissingDependencyError(
            f"the tokenizer {tokenizer!r} can't be loaded",
            where="screen.rules.tokenizer",
            hint="download it (hf download <model>), name a folder, or leave it out: then words are counted",
        ) from e
    return lambda text: len(loaded(text, add_special_tokens=False)["input_ids"])


def _patterns(sources: Sequence[str], name: str) -> PatternSet:
    named = [Pattern(f"{name}[{n}]", source, ignore_case=False) for n, source in enumerate(sources)]
    return PatternSet(named, f"screen.rules.{name}")


def _keywords(keywords: Sequence[str], name: str) -> PatternSet:
    escaped = [Pattern(f"{name}[{n}]", re.escape(k), word=True) for n, k in enumerate(keywords) if k.strip()]
    return PatternSet(escaped, f"screen.rules.{name}")
