"""What this package finds, as one detector: ages, titles, codes, dates, telephone and card numbers, addresses."""

from steps.engines.fast_presidio.prefilter import Conditions
from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding, TextDetector
from steps.scrub.recognizers import (
    address,
    age,
    card,
    dates,
    iban,
    labelled_phones,
    title,
    zip_code,
    zip_code_sentence,
    zip_code_town,
)
from steps.scrub.recognizers.address import AddressDetector
from steps.scrub.recognizers.forms import Form, FormDetector, necessary
from steps.scrub.recognizers.labelled_phones import PhoneDetector
from steps.scrub.recognizers.zip_code_sentence import ZipCodeSentenceDetector
from steps.scrub.recognizers.zip_code_town import ZipCodeTownDetector

# Entities that this package finds, by itself or beside presidio.
BUILTIN = frozenset(
    {
        address.ENTITY,
        age.ENTITY,
        card.ENTITY,
        dates.ENTITY,
        iban.ENTITY,
        labelled_phones.ENTITY,
        title.ENTITY,
        zip_code.ENTITY,
    }
)


class BuiltinDetector:
    """Finds what `config.wanted` asks for; a GatedDetector. RE2 says first whether anything can stand in a text."""

    def __init__(self, config: ScrubConfig) -> None:
        plain = forms(config)
        self._detectors: list[TextDetector] = [FormDetector(plain, config)]
        conditions = [form.regex for form in plain]
        if address.ENTITY in config.wanted:
            self._detectors.append(AddressDetector(config))
            conditions += [form.regex for form in address.forms()]
        if labelled_phones.ENTITY in config.wanted:
            self._detectors.append(PhoneDetector(config))
            conditions.append(labelled_phones.CONDITION)
        if zip_code.ENTITY in config.wanted:
            self._detectors.append(ZipCodeSentenceDetector(config))
            conditions += [form.regex for form in zip_code_sentence.forms()]
            if "en_US" in config.locales:
                self._detectors.append(ZipCodeTownDetector(config))
                conditions.append(zip_code_town.CONDITION)
        self.conditions = necessary([(c, 0) for c in conditions]) if config.accelerate else None
        self._possible = Conditions(self.conditions or conditions)

    def find(self, text: str) -> list[Finding]:
        """Findings in the order of the kinds; several may overlap."""
        if not self._possible.matching(text):
            return []
        return [finding for detector in self._detectors for finding in detector.find(text)]


def forms(config: ScrubConfig) -> list[Form]:
    """The forms of the entities wanted, without those that have a detector of their own."""
    kinds = {
        age.ENTITY: age.forms(),
        card.ENTITY: card.forms(),
        dates.ENTITY: dates.forms(config.locales),
        iban.ENTITY: iban.forms(),
        title.ENTITY: title.forms(config.locales),
        zip_code.ENTITY: zip_code.forms(config.locales),
    }
    return [form for entity, found in kinds.items() if entity in config.wanted for form in found]
