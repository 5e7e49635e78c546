"""Published rule sets for web pages: Gopher's quality rules, C4's, and the three filters of FineWeb.

The numbers and their sources stand in config.py. Each set is a function from a text to its first failed rule and the
value measured. Words are what white space separates; lines are those that hold more than white space. C4 rewrites
pages (it keeps some of their lines); here nothing is rewritten, so a page goes when too little of it would be kept.
"""

import re
from collections.abc import Callable, Sequence

from steps.screen.config import C4, FineWeb, GopherQuality, Preset, RulesConfig
from steps.screen.repetition import duplicate_fractions

Failure = tuple[str, float]

# The paper says "bullet point" only; chosen: the bullets of Unicode, and those of Markdown with their space.
_BULLETS = ("•", "‣", "◦", "⁃", "●", "▪", "- ", "* ", "+ ")
_ELLIPSES = ("...", "…")
# Rae et al. 2021, A1.1.
_STOP_WORD = re.compile(r"\b(?:the|be|to|of|and|that|have|with)\b", re.IGNORECASE)
# Raffel et al. 2020, 2.2: a period, exclamation mark, question mark, or end quotation mark.
_C4_ENDS = (".", "!", "?", '"', "”", "’")
# Raffel et al. 2020, 2.2: lines with boilerplate about policies, and about scripts.
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)")
# Chosen: Latin, CJK, Arabic and Devanagari ends of sentences, with closing quotation marks.
_TERMINAL = (".", "!", "?", "…", '"', "'", "”", "’", "»", "。", "！", "？", "」", "؟", "۔", "।")


def first_preset_failure(text: str, rules: RulesConfig) -> Failure | None:
    """(`set.rule`, value) of the first rule that the text fails, sets in the config's order; None: it passes all."""
    checks: dict[Preset, Callable[[], Failure | None]] = {
        "gopher_quality": lambda: gopher_failure(text, rules.gopher_quality),
        "c4": lambda: c4_failure(text, rules.c4),
        "fineweb": lambda: fineweb_failure(text, rules.fineweb),
    }
    for name in rules.presets:
        failure = checks[name]()
        if failure is not None:
            return f"{name}.{failure[0]}", round(failure[1], 4)
    return None


def gopher_failure(text: str, bounds: GopherQuality) -> Failure | None:
    """The first of Gopher's quality rules that the text fails."""
    words = text.split()
    if not bounds.min_words <= len(words) <= bounds.max_words:
        return "words", len(words)
    length = sum(map(len, words)) / max(1, len(words))
    if not bounds.min_word_length <= length <= bounds.max_word_length:
        return "word_length", length
    lines = _lines(text)
    for rule, count, total, bound in (
        ("hashes", text.count("#"), len(words), bounds.symbols_per_word),
        ("ellipses", sum(map(text.count, _ELLIPSES)), len(words), bounds.symbols_per_word),
        ("bullet_lines", sum(x.startswith(_BULLETS) for x in lines), len(lines), bounds.bullet_lines),
        ("ellipsis_lines", sum(x.endswith(_ELLIPSES) for x in lines), len(lines), bounds.ellipsis_lines),
    ):
        if count > bound * total:
            return rule, count / max(1, total)
    alphabetic = sum(any(map(str.isalpha, w)) for w in words) / max(1, len(words))
    if alphabetic < bounds.alphabetic_words:
        return "alphabetic_words", alphabetic
    known = len({w.lower() for w in _STOP_WORD.findall(text)})
    return ("stop_words", known) if known < bounds.stop_words else None


def c4_failure(text: str, bounds: C4) -> Failure | None:
    """The first of C4's page rules that the text fails; `sentences` counts those of the lines that C4 would keep."""
    lower = text.lower()
    if "lorem ipsum" in lower:
        return "lorem_ipsum", lower.count("lorem ipsum")
    if "{" in text:
        return "curly_bracket", text.count("{")
    kept = (line for line in _lines(text) if _c4_keeps(line, bounds))
    sentences = sum(max(1, len(_SENTENCE_END.findall(line))) for line in kept)
    return ("sentences", sentences) if sentences < bounds.min_sentences else None


def _c4_keeps(line: str, bounds: C4) -> bool:
    words = line.split()
    if len(words) < bounds.min_line_words or max(map(len, words)) > bounds.max_word_length:
        return False
    if not line.endswith(_C4_ENDS) or line.endswith(_ELLIPSES):
        return False
    lower = line.lower()
    return "javascript" not in lower and not any(p in lower for p in _POLICY)


def fineweb_failure(text: str, bounds: FineWeb) -> Failure | None:
    """The first of FineWeb's three filters that the text fails; an empty text passes."""
    lines = _lines(text)
    if not lines:
        return None
    ended = _share(lines, lambda line: line.endswith(_TERMINAL))
    if ended <= bounds.punctuated_lines:
        return "punctuated_lines", ended
    repeated = duplicate_fractions(lines)[1]
    if repeated >= bounds.duplicate_line_characters:
        return "duplicate_line_characters", repeated
    short = _share(lines, lambda line: len(line) < bounds.short_line_characters)
    return ("short_lines", short) if short >= bounds.short_lines else None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _share(lines: Sequence[str], test: Callable[[str], bool]) -> float:
    return sum(map(test, lines)) / len(lines)
