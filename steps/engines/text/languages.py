"""Which language a text is in, by py3langid: naive Bayes over byte n-grams, 140 languages, no network, no GPU."""

from functools import cache, lru_cache
from typing import Any

from steps.engines.text.pseudonyms import without_names

# One written language under two labels: written Wu is hardly told from Mandarin (all five Chinese texts that
# py3langid got wrong in benchmarks/bench_screen.py were called Wu).
SAME = {"wuu": "zh"}
# As screen's settings for languages: fewer letters say nothing, and a paragraph decides.
_LETTERS, _LOOKED_AT, _SURE = 20, 1_000, 0.5
UNDECIDED = "undecided"


@cache
def language_model() -> Any:
    """The model, with probabilities that are comparable over lengths; loaded once."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def ranked(model: Any, text: str) -> dict[str, float]:
    """Probability of each language, likeliest first; of one that is kept under several codes they add up."""
    merged: dict[str, float] = {}
    for code, probability in model.rank(text):
        name = SAME.get(code, code)
        merged[name] = merged.get(name, 0.0) + probability
    return dict(sorted(merged.items(), key=lambda item: -item[1]))


@lru_cache(maxsize=16_384)
def language_of(text: str) -> str:
    """The likeliest language, or UNDECIDED: too few letters, or none is likely enough."""
    text = without_names(text)[:_LOOKED_AT]
    if sum(map(str.isalpha, text)) < _LETTERS:
        return UNDECIDED
    best, probability = language_model().classify(text)
    return SAME.get(best, best) if probability >= _SURE else UNDECIDED
