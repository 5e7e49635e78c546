"""Which language a row is in, by py3langid: naive Bayes over byte n-grams, 140 languages, no network, no GPU.

Probabilities are those of py3langid with `norm_probs`, made comparable over lengths there. Of a language that is
kept under several codes the probabilities add up. A text of too few letters, and one for which no language is
likely enough, is undecided: that is an outcome, and the config says what follows from it.
"""

import unicodedata
from dataclasses import dataclass

from steps.contracts.errors import ConfigError
from steps.contracts.records import Row, text_of
from steps.engines.text.languages import SAME, language_model, ranked
from steps.screen.config import LanguageConfig

UNDECIDED = "undecided"


@dataclass(frozen=True)
class Identified:
    """The likeliest language with its probability, of the kept ones together where none is enough alone.

    Or UNDECIDED with the probability that wasn't enough, 0.0 for too few letters.
    """

    language: str
    probability: float


class Languages:
    """The model and the config's choice.

    Raises:
        ConfigError: a code in `keep` that the model doesn't know.
    """

    def __init__(self, config: LanguageConfig) -> None:
        self.config = config
        self._model = language_model()
        unknown = sorted(set(config.keep) - set(self._model.labels))
        if unknown:
            raise ConfigError(
                f"no such language: {unknown[0]!r}",
                where="screen.language.keep",
                hint="codes of ISO 639: " + " ".join(sorted(self._model.labels)),
            )

    def identify(self, row: Row) -> Identified:
        """The language of the row's text; a kept language is named when those kept are likely enough together."""
        text = _part(row, self.config.part)[: self.config.max_characters]
        if sum(map(str.isalpha, text)) < self.config.min_letters:
            return Identified(UNDECIDED, 0.0)
        # The same letters must be the same bytes, styled and full-width ones too.
        text = unicodedata.normalize("NFKC", text)
        code, probability = self._model.classify(text)
        if probability >= max(self.config.min_probability, 1 - self.config.min_probability):
            # No other language, and not all others together, can be likely enough.
            return Identified(SAME.get(code, code), round(probability, 4))
        return self.judged(self.ranked(text))

    def judged(self, ranked: dict[str, float]) -> Identified:
        """What these probabilities say under the config."""
        best, probability = next(iter(ranked.items()))
        kept = {code: p for code, p in ranked.items() if code in self.config.keep}
        together = sum(kept.values())
        if together >= self.config.min_probability:
            return Identified(next(iter(kept)), round(together, 4))
        if best not in kept and probability >= self.config.min_probability:
            return Identified(best, round(probability, 4))
        return Identified(UNDECIDED, round(probability, 4))

    def ranked(self, text: str) -> dict[str, float]:
        """Probability of each language, likeliest first."""
        return ranked(self._model, text)


def _part(row: Row, part: str) -> str:
    """The text that is looked at: all of the row, or what the assistant says last (in pairs: the chosen answer)."""
    if part == "row" or row["kind"] == "document":
        return text_of(row)
    answers = [m["content"] for m in [*row["messages"], *row["chosen"]] if m["role"] == "assistant"]
    return answers[-1] if answers else ""
