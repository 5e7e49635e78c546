"""What a locale adds to what is looked for: presidio's recognizers of its country, and its phone numbers' region.

presidio has none for France; its phone numbers are among presidio's default regions, as those of Germany are.
Left out, and there to be named in `entities`: DE_LANR and DE_BSNR (one in ten and all of the numbers of nine digits),
UK_VEHICLE_REGISTRATION (presidio takes "FW14 was" for one).
"""

from collections.abc import Iterable, Mapping

IDENTIFIERS: Mapping[str, tuple[str, ...]] = {
    "en_US": (),  # in the default entities
    "en_GB": ("UK_DRIVING_LICENCE", "UK_NHS", "UK_NINO", "UK_PASSPORT", "UK_POSTCODE"),
    "de": (
        "DE_FUEHRERSCHEIN",
        "DE_HEALTH_INSURANCE",
        "DE_ID_CARD",
        "DE_KFZ",
        "DE_PASSPORT",
        "DE_PLZ",
        "DE_SOCIAL_SECURITY",
        "DE_TAX_ID",
        "DE_TAX_NUMBER",
        "DE_VAT_ID",
    ),
    "fr": (),
    "es": ("ES_NIE", "ES_NIF", "ES_PASSPORT"),
}
# presidio's country codes; those of English texts are always known.
COUNTRIES: Mapping[str, str] = {"de": "de", "es": "es", "fr": "fr"}
# Regions beside presidio's own (PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS).
PHONE_REGIONS: Mapping[str, str] = {"es": "ES"}


def identifiers_of(locales: Iterable[str]) -> tuple[str, ...]:
    """Entities that the locales add, sorted."""
    return tuple(sorted({e for locale in locales for e in IDENTIFIERS[locale]}))
