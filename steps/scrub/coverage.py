"""Which identifiers a config covers, by what, and which it leaves: a table for the report and for `assay doctor`."""

from collections.abc import Mapping

from steps.contracts.reports import Table
from steps.scrub.config import ScrubConfig
from steps.scrub.locales import identifiers_of
from steps.scrub.profiles import MODEL_ENTITIES, Coverage, Profile, coverage, detector_of

HOW_TO_GET_A_MODEL = (
    "name one in scrub.ner: engine spacy with model en_core_web_lg, after python -m spacy download en_core_web_lg; "
    "engine transformers with a hub id; or engine gliner (GLiNER: pip install --no-deps gliner) with a hub id"
)
# Profiles to whose identification numbers those of the locales' countries belong.
_NATIONAL: tuple[Profile, ...] = ("gdpr", "hipaa")


def found_by(config: ScrubConfig) -> dict[str, str]:
    """Entity -> what looks for it."""
    from steps.scrub.recognizers.builtin import BUILTIN

    own = {e: "presidio, own patterns" for e in config.wanted_of("presidio") if e in BUILTIN}
    return _found_by(config, own)


def _found_by(config: ScrubConfig, named: Mapping[str, str]) -> dict[str, str]:
    """The same; `named`: detectors with another name than their kind's."""
    detectors = {entity: named.get(entity) or detector_of(entity) for entity in config.wanted}
    for entity in config.custom:
        detectors[entity] = f"{detectors[entity]}, this config" if entity in detectors else "this config"
    if config.ner is not None:
        detectors |= dict.fromkeys(config.ner.entities, f"{config.ner.engine} model {config.ner.model}")
    return detectors


def lines(config: ScrubConfig) -> list[Coverage]:
    """The coverage of the profiles, and of names, places and organizations in any case."""
    return _lines(config, found_by(config))


def _lines(config: ScrubConfig, detectors: Mapping[str, str]) -> list[Coverage]:
    # A word list finds only the names that are in it.
    found = {e: d for e, d in detectors.items() if e not in MODEL_ENTITIES or d != "this config"}
    national = [
        Coverage(profile, "identifiers of the locales' countries", entity, found[entity], "covered")
        for profile in _NATIONAL
        if profile in config.profile
        for entity in identifiers_of(config.locales)
    ]
    return [*coverage(config.profile, found, config.accept_uncovered), *national]


def table(config: ScrubConfig) -> Table:
    """`lines` as a table of a report."""
    return Table(
        title="Coverage",
        columns=("profile", "identifier", "entity", "detector", "status"),
        rows=tuple(tuple(line) for line in lines(config)),
    )


def uncovered(config: ScrubConfig) -> tuple[str, ...]:
    """Model entities that nothing looks for."""
    # Without the patterns, whose libraries take a second to import: they find none of these.
    lines = _lines(config, _found_by(config, {}))
    return tuple(line.entity for line in lines if line.entity in MODEL_ENTITIES and line.status != "covered")
