"""The word lists of unsafe content as scan patterns."""

import re
from pathlib import Path

from steps.contracts.errors import ConfigError
from steps.engines.scan.patterns import Pattern
from steps.screen.config import UnsafeConfig

_FILE = Path(__file__).with_name("terms.txt")


def term_patterns(config: UnsafeConfig) -> list[tuple[str, Pattern]]:
    """(severity, pattern) of each term. The config's own words go first: the first term at a place decides.

    Raises:
        ConfigError: an allowed word is in no built-in list (a misspelling would silently allow nothing).
    """
    custom = [(severity, _pattern(severity, re.escape(term))) for term, severity in sorted(config.terms.items())]
    lines = [line.split("\t") for line in _FILE.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    builtin = [(severity, _pattern(severity, source)) for severity, source in lines]
    for word in config.allow:
        if not any(re.fullmatch(p.source, word, re.IGNORECASE) for _, p in builtin):
            raise ConfigError(f"{word!r} is in no built-in word list", where="screen.unsafe.allow", hint="remove it")
    return [*custom, *builtin]


def _pattern(severity: str, source: str) -> Pattern:
    return Pattern(f"profanity.{severity}" if severity != "slur" else "slur", source, word=True)
