"""The backend that is a ready-made classifier of texts: one number per row, put on the judge's scale."""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from steps.contracts.context import StageContext
from steps.contracts.digests import value_digest
from steps.contracts.reports import Table
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.text_classifier import TextClassifier
from steps.engines.rubric.case import Case
from steps.engines.rubric.rubric import HIGHEST, LOWEST
from steps.judge.classifier_config import QualityClassifier
from steps.judge.verdict import JudgeVerdict, no_answer

# The one criterion of such a judge.
CLASSIFIED = "classified"
_BACKEND = "classifier"


class ClassifierJudge:
    """Scores rows by what they say. A context manager; the model is loaded when it is made."""

    rated = False
    criteria = (CLASSIFIED,)

    def __init__(self, config: QualityClassifier, ctx: StageContext) -> None:
        self.config = config
        self._opened = ExitStack()
        cache = self._opened.enter_context(EmbeddingCache(ctx.cache))
        self._scorer = TextClassifier(config, "judge.classifier", ctx.root, cache)
        self.digest = value_digest([self._scorer.digest, config.label, list(config.scale), config.part])
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.close()

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order; equal texts are scored once."""
        texts = [text_read(case, self.config.part) if case.has_answer else "" for case in cases]
        found = iter(self._scorer.scores([text for text in texts if text]))
        verdicts = []
        for text in texts:
            if not text:
                verdicts.append(no_answer(self.criteria, self.digest))
                continue
            vector = next(found)
            self._counts["rows cut to what the model reads"] += vector.cut
            verdicts.append(self._verdict(float(vector.values[self._scorer.column])))
        return verdicts

    def _verdict(self, said: float) -> JudgeVerdict:
        model = self.config.model
        if not math.isfinite(said):
            return JudgeVerdict(_BACKEND, self.digest, error="not_finite", error_detail=str(said), model=model)
        return JudgeVerdict(
            _BACKEND, self.digest, {CLASSIFIED: on_scale(said, self.config.scale)},
            {CLASSIFIED: f"{self.config.label or 'score'} {said:.4g}"}, model=model,
        )  # fmt: skip

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """Its scores are no words: what is kept of a verdict says all."""
        return [False for _ in cases]

    def share_of(self, case: Case, shares: int) -> int | None:
        """Any may decide."""
        return None

    def pass_over(self, rows: int) -> None:
        """The driver shows how far it is."""

    def counts(self) -> dict[str, Counter[str]]:
        """Rows that were cut."""
        return {"classifier": +self._counts}

    def tables(self) -> tuple[Table, ...]:
        """None."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """Which model judged, and how its scores were read."""
        low, high = self.config.scale
        read = f"Judged by the classifier {self.config.model!r}; {low:g} to {high:g} stand for {LOWEST} to {HIGHEST}."
        cut = self._counts["rows cut to what the model reads"]
        said = f"It read only the first {self._scorer.longest} tokens of {cut} rows."
        return (read, *([said] if cut else []))

    def warnings(self) -> tuple[str, ...]:
        """None."""
        return ()


def on_scale(said: float, scale: tuple[float, float]) -> float:
    """A number of the model's scale on the judge's, 1 to 5; what lies outside is at its end."""
    low, high = scale
    part = min(max((said - low) / (high - low), 0.0), 1.0)
    return round(LOWEST + (HIGHEST - LOWEST) * part, 4)


def text_read(case: Case, part: str) -> str:
    """What the model reads of a row: all that is said, or the last answer."""
    if case.text is not None:
        return case.text.strip()
    said = case.messages[-1:] if part == "answer" else case.messages
    return "\n\n".join(m["content"] for m in said if m["content"]).strip()
