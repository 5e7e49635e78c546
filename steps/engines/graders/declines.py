"""By what an answer is told to decline, and patterns of that kind checked."""

from typing import Any

# Written for this project from the usual English phrasings; other languages and house styles need their own.
DECLINE_PATTERNS = (
    r"\bI (?:do not|don['’]t) (?:know|have (?:enough |that |this |the |any )?information)",
    r"\bI(?: am|['’]m) (?:sorry|unable|not able|afraid)\b",
    r"\bI (?:cannot|can['’]t|can not) (?:answer|say|tell|help|provide|determine)",
    r"\b(?:cannot|can['’]t|can not) be (?:answered|determined|known)\b",
    r"\bnot (?:enough|sufficient) information\b|\binsufficient information\b",
    r"\b(?:unanswerable|no answer (?:is )?(?:available|possible))\b",
)


def compiled_or_refused(pattern: str) -> str:
    """The pattern, if it is one of RE2.

    Raises:
        ValueError: it isn't.
    """
    import re2

    try:
        re2.compile(pattern, quiet())
    except re2.error as e:
        raise ValueError(f"not an RE2 pattern: {pattern!r}: {e}") from e
    return pattern


def quiet() -> Any:
    """Options of RE2 that leave standard error alone."""
    import re2

    options = re2.Options()
    options.log_errors = False  # RE2 would write to standard error what is raised anyway
    return options
