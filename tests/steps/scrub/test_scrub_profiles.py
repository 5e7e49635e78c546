"""Profiles: what they look for, what they refuse to run without, what the coverage table says."""

import re
from pathlib import Path

import pytest

from pipelines.load import Written, validate
from steps.contracts.errors import ConfigError
from steps.scrub.config import ScrubConfig
from steps.scrub.coverage import found_by, lines, table, uncovered
from steps.scrub.detector import Detector
from steps.scrub.profiles import MODEL_ENTITIES, PROFILES, detector_of, entities_of

SPACY = {"engine": "spacy", "model": "m"}


def config(**settings: object) -> ScrubConfig:
    return validate(ScrubConfig, Written(settings, {}, "run.yaml"))


def test_a_profile_is_one_name_or_several() -> None:
    assert config(profile="none") == config() == config(profile=None) == config(profile=[])
    assert config(profile="pci").profile == ("pci",)
    assert config(profile=["pci", "secrets"]).wanted == tuple(
        sorted({*config().entities, *entities_of(["pci", "secrets"])})
    )
    with pytest.raises(ConfigError, match="profile"):
        config(profile="hippa")


@pytest.mark.parametrize("profile", ["gdpr", "hipaa", ["pci", "hipaa"]])
def test_a_profile_that_names_persons_needs_a_model_or_consent(profile: object) -> None:
    with pytest.raises(ConfigError) as caught:
        config(profile=profile)
    for said in ("PERSON, LOCATION", "spacy download", "accept_uncovered: [PERSON, LOCATION]"):
        assert said in str(caught.value)
    with pytest.raises(ConfigError, match=r"(hipaa|gdpr) needs LOCATION, which"):
        config(profile=profile, accept_uncovered=["PERSON"])
    with pytest.raises(ConfigError, match=r"(hipaa|gdpr) needs LOCATION, which"):
        config(profile=profile, ner={**SPACY, "entities": ["PERSON"]})
    assert config(profile=profile, accept_uncovered=["LOCATION"], ner={**SPACY, "entities": ["PERSON"]}).ner
    assert config(profile=profile, ner=SPACY).ner
    with pytest.raises(ConfigError, match="lists EMAIL_ADDRESS"):
        config(profile=profile, ner=SPACY, accept_uncovered=["EMAIL_ADDRESS"])


def test_pci_and_secrets_need_no_model() -> None:
    assert config(profile=["pci", "secrets"]).accept_uncovered == ()


def test_safe_harbor_has_eighteen_identifiers_each_mapped_or_explained() -> None:
    identifiers = PROFILES["hipaa"]
    assert [i.name[0] for i in identifiers] == list("ABCDEFGHIJKLMNOPQR")
    assert all(i.entities or i.why for i in identifiers)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_entity_of_a_profile_has_a_detector(profile: str) -> None:
    settings = config(profile=profile, accept_uncovered=["PERSON", "LOCATION"])
    for identifier in PROFILES[profile]:  # type: ignore[index]
        assert set(identifier.entities) <= {*settings.wanted, *MODEL_ENTITIES}
    # An entity without a recognizer, own pattern or form would be refused here.
    assert Detector(settings).find(["nothing in here"]) == [[]]


def test_the_table_says_covered_accepted_and_not_covered() -> None:
    settings = config(profile="hipaa", accept_uncovered=["PERSON"], ner={**SPACY, "entities": ["LOCATION"]})
    said = {(line.identifier[0], line.entity): (line.detector, line.status) for line in lines(settings)}
    assert said["A", "PERSON"] == ("needs an NER model (scrub.ner)", "accepted")
    assert said["B", "LOCATION"] == ("spacy model m", "covered")
    assert said["H", "MEDICAL_RECORD_NUMBER"] == ("label and number", "covered")
    assert said["N", "URL"] == ("presidio", "covered")
    assert said["C", "DATE_TIME"] == ("presidio, own patterns", "covered")
    assert said["Q", ""][1] == said["P", ""][1] == said["R", ""][1] == "not covered"
    assert said["o", "ORGANIZATION"] == ("needs an NER model (scrub.ner)", "not covered")
    assert uncovered(settings) == ("PERSON", "ORGANIZATION")
    assert len(table(settings).rows) == len(lines(settings))


def test_identifiers_of_the_locales_belong_to_the_law_profiles() -> None:
    settings = config(profile=["gdpr", "pci"], accept_uncovered=["PERSON", "LOCATION"], locales=["en_US", "es"])
    said = {(line.profile, line.entity): line.detector for line in lines(settings)}
    assert said["gdpr", "ES_NIF"] == "presidio" and ("pci", "ES_NIF") not in said and ("gdpr", "DE_TAX_ID") not in said


def test_the_docs_show_the_safe_harbor_table_as_it_is() -> None:
    text = (Path(__file__).parents[3] / "docs/stages/scrub.md").read_text(encoding="utf-8")
    for identifier in PROFILES["hipaa"]:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {identifier.name} |")]
        assert set(re.findall(r"`([A-Z_]+)`", row)) == set(identifier.entities)
        assert ("not covered" in row) == (not identifier.entities)


def test_a_word_list_does_not_cover_names() -> None:
    settings = config(deny={"PERSON": ["Ann"]}, patterns={"STAFF_ID": "E-[0-9]+"})
    assert found_by(settings)["STAFF_ID"] == "this config"
    assert uncovered(settings) == MODEL_ENTITIES
    assert (detector_of("JWT"), detector_of("AGE"), detector_of("US_SSN")) == ("secrets", "own patterns", "presidio")
