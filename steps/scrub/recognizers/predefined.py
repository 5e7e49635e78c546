"""presidio's recognizers of an entity, in the form in which this package runs them."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import tldextract
from presidio_analyzer import Pattern, PatternRecognizer, predefined_recognizers
from presidio_analyzer.predefined_recognizers import EmailRecognizer, PhoneRecognizer

from steps.contracts.errors import ConfigError
from steps.scrub.locales import COUNTRIES, PHONE_REGIONS

_ENGLISH = ("us", "uk")
_FLAGS = re.IGNORECASE | re.MULTILINE | re.DOTALL


# presidio's, with a local part that ends at the signs of URLs and settings: of `https://a.com/?to=jane@b.com` it finds
# all behind the slashes, and looks whether a.com is a domain. An equals sign is part of an address in a bounce
# (`news+jane=b.com@a.com`), a number sign in the name of a guest (`jane_b.com#EXT#@a.com`).
_LOCAL = r"(?:[\w.-]+\+[\w.+-]+=[\w.-]+|[\w.-]+#EXT#|[\w.!$%'*+^`~-]+)"
_EMAIL = Pattern("Email", rf"\b{_LOCAL}@\w+(?:-+\w+)*(?:\.\w+(?:-+\w+)*)+\b", 0.5)


class _OfflineEmailRecognizer(EmailRecognizer):
    """Checks domains against the suffix list in tldextract's package; presidio's own fetches it from the network."""

    def __init__(self) -> None:
        self._suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        super().__init__(name="EmailRecognizer", patterns=[_EMAIL])

    def validate_result(self, pattern_text: str) -> bool:
        return bool(self._suffixes(pattern_text.rpartition("@")[2]).fqdn)


def recognizers(entities: Sequence[str], locales: Iterable[str]) -> list[Any]:
    """One recognizer for each entity, by name; those that need a model are `ner`'s business.

    They all run in one pass as recognizers of English text; their context words are those of their own language.

    Raises:
        ConfigError: presidio has no pattern recognizer for an entity in these locales.
    """
    regions = [PHONE_REGIONS[locale] for locale in locales if locale in PHONE_REGIONS]
    makers: dict[str, Callable[[], Any]] = {
        **_predefined(locales),
        "EMAIL_ADDRESS": _OfflineEmailRecognizer,
        "PHONE_NUMBER": lambda: PhoneRecognizer(
            supported_regions=(*PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS, *regions)
        ),
    }
    unknown = sorted(set(entities) - set(makers))
    if unknown:
        raise ConfigError(
            f"no pattern recognizer for {', '.join(unknown)}",
            where="scrub.entities",
            hint=f"known with these locales: {', '.join(sorted(makers))}; names and places need `ner`, "
            "your own ids `patterns`",
        )
    made = [makers[e]() for e in sorted(set(entities))]
    for recognizer in made:
        if isinstance(recognizer, PatternRecognizer):
            # As presidio's registry does; by themselves some, IBANs' among them, would miss small letters.
            recognizer.global_regex_flags = _FLAGS
    return made


def _predefined(locales: Iterable[str]) -> Mapping[str, Callable[[], Any]]:
    """entity -> what makes presidio's recognizer; making one compiles its patterns, so only those asked for are."""
    countries = {*_ENGLISH, *(COUNTRIES[locale] for locale in locales if locale in COUNTRIES)}
    kinds: list[tuple[str, Any]] = inspect.getmembers(predefined_recognizers, inspect.isclass)
    return {
        inspect.signature(kind).parameters["supported_entity"].default: partial(kind, supported_language="en")
        for _, kind in kinds
        if issubclass(kind, PatternRecognizer) and (kind.COUNTRY_CODE or "us") in countries
    }
