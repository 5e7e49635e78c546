"""What of a text is compared, by name. An extractor makes a function from a text to a value, or to NOTHING."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeAlias

from steps.engines.graders.values import NOTHING, parse_json

if TYPE_CHECKING:
    import re2

Extract: TypeAlias = Callable[[str], Any]

# Answers after the last "####" (Cobbe et al. 2021, GSM8K's own format); a currency sign is let through.
FINAL_NUMBER = r"####\s*\$?\s*(-?[0-9][0-9,]*(?:\.[0-9]+)?|-?\.[0-9]+)"

_NUMBER = r"-?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?"


def _whole(pattern: str | None) -> Extract:
    return lambda text: text


def _json(pattern: str | None) -> Extract:
    return parse_json


def _final_number(pattern: str | None) -> Extract:
    last = _last_match(FINAL_NUMBER)

    def number(text: str) -> Any:
        found = last(text)
        return found if found is NOTHING else _number(found)

    return number


def _last_match(pattern: str | None) -> Extract:
    """What the only group of the last match captures."""
    assert pattern is not None, "the config asks for a pattern"
    compiled = compile_re2(pattern)

    def last(text: str) -> Any:
        found = [m.group(1) for m in compiled.finditer(text)]
        return found[-1] if found and found[-1] is not None else NOTHING

    return last


# Name -> maker of the extractor; `pattern` is for the one that takes a pattern.
EXTRACTORS: Mapping[str, Callable[[str | None], Extract]] = {
    "none": _whole,
    "json": _json,
    "final_number": _final_number,
    "regex": _last_match,
}


def compile_re2(pattern: str, *, ignore_case: bool = False) -> "re2._Regexp":
    """A pattern for text of models: RE2 takes linear time whatever it reads."""
    import re2

    options = re2.Options()
    options.case_sensitive = not ignore_case
    return re2.compile(pattern, options)


def last_number(text: str) -> Decimal | None:
    """The last number that stands in a text; None: there is none."""
    found = list(compile_re2(_NUMBER).finditer(text))
    if not found:
        return None
    start, number = found[-1].start(), found[-1].group(0)
    # In "5-7" the sign is a dash.
    value = _number(number.removeprefix("-") if start and text[start - 1].isalnum() else number)
    return value if isinstance(value, Decimal) else None


def _number(text: str) -> Any:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return NOTHING
