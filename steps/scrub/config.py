"""Settings of the scrub stage (PII)."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from steps.contracts.reports import Frozen
from steps.engines.rowwise.undecided import UndecidedPolicy
from steps.scrub.locales import identifiers_of
from steps.scrub.profiles import MODEL_ENTITIES, SECRET_ENTITIES, Profile, detector_of, entities_of, needing_a_model

# What patterns find in English text with usable precision: presidio's, addresses, and credentials (no false alarm in
# t0's 53,785 rows and GSM8K's 7,473, measured: docs/stages/scrub.md). Left out on purpose: URL and UUID (mostly code
# and public pages), AGE, TITLE and DATE_TIME (few identify anybody), US_DRIVER_LICENSE (fires on "A4").
DEFAULT_ENTITIES = (
    "CREDIT_CARD",
    "CRYPTO",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "MEDICAL_LICENSE",
    "PHONE_NUMBER",
    "STREET_ADDRESS",
    "UK_NHS",
    "US_BANK_NUMBER",
    "US_ITIN",
    "US_PASSPORT",
    "US_SSN",
    "ZIP_CODE",
    *SECRET_ENTITIES,
)
# Countries whose numbers, identifiers and address forms are looked for; en_US and en_GB are English texts.
Locale = Literal["en_US", "en_GB", "de", "fr", "es"]
Mode = Literal["pseudonymise", "surrogate", "redact", "mask"]


class NerConfig(Frozen):
    """A named-entity model for what patterns can't find: names, places, organizations."""

    engine: Literal["spacy", "transformers", "gliner"] = Field(description="library that runs the model")
    model: str = Field(min_length=1, description="spaCy package or folder; transformers or GLiNER hub id or folder")
    revision: str | None = Field(None, description="commit, tag or branch of a hub model; a commit never moves")
    entities: tuple[str, ...] = Field(("PERSON", "LOCATION"), description="what is replaced; other labels are ignored")
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="model label -> entity, where the model's labels aren't the usual ones; GLiNER is asked for these",
    )
    # Chosen; spaCy models give no score per entity, so this concerns the other two.
    threshold: float = Field(0.5, ge=0, le=1, description="least score of a transformers or GLiNER entity")
    # What shares a forward pass changes scores in their last digits: with 1 a text's entities depend on it alone.
    batch_size: int = Field(1, ge=1, description="texts per forward pass; more is faster, above all on a GPU")

    @model_validator(mode="after")
    def _revision_of_what(self) -> Self:
        if self.revision is not None and self.engine == "spacy":
            raise ValueError("spaCy models have no revision: install the version that you want")
        return self


class CustomPattern(Frozen):
    """A form of values. As in presidio, a context word up to 5 words before adds 0.35, to 0.4 at least."""

    regex: str = Field(min_length=1, description="RE2 pattern; a group (?P<value>...) in it is what is replaced")
    score: float = Field(1.0, ge=0, le=1, description="score without a context word, compared with the threshold")
    context: tuple[str, ...] = Field((), description="single words that make the value likelier")


class ScrubConfig(Frozen):
    """Find personal data in every text of every row, whatever its split, and replace it."""

    mode: Mode = Field(
        "pseudonymise",
        description="<PERSON_K7Q2M4XA7DTR> (equal values stay equal), a made-up value of its kind, <PERSON>, or ****",
    )
    key_env: str = Field("ASSAY_PII_KEY", min_length=1, description="environment variable that holds the secret key")
    demo_key: bool = Field(False, description="use the published demo key: for public example data only")
    # Chosen: each further locale adds patterns that can be wrong on texts of the others.
    locales: tuple[Locale, ...] = Field(
        ("en_US",), min_length=1, description="whose phone numbers, identifiers and addresses are looked for"
    )
    profile: tuple[Profile, ...] = Field(
        (), description="none, or of gdpr, hipaa, pci, secrets: adds their identifiers to `entities`"
    )
    accept_uncovered: tuple[str, ...] = Field(
        (), description="entities of gdpr and hipaa that only a model finds and that may stay, without a model"
    )
    entities: tuple[str, ...] = Field(DEFAULT_ENTITIES, description="entities found by patterns that are replaced")
    # Measured: .35 keeps what context words confirm and drops weak patterns (docs/stages/scrub.md).
    threshold: float = Field(0.35, ge=0, le=1, description="least presidio score")
    thresholds: dict[str, float] = Field(default_factory=dict, description="entity -> least score, instead")
    needs_context: tuple[str, ...] = Field(
        ("MEDICAL_LICENSE", "UK_NHS", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_PASSPORT"),
        description="entities that count only with one of the recognizer's context words up to 5 words before",
    )
    phone_needs_form: bool = Field(
        True, description="a phone number without context must look like one: +, (area), 3-3-4, 0 and groups"
    )
    allow: tuple[str, ...] = Field((), description="values that are never replaced (compared like pseudonyms)")
    deny: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="entity -> words that are always replaced; the config is logged whole"
    )
    allow_file: str | None = Field(None, description="file with more such values, one per line")
    deny_files: dict[str, str] = Field(
        default_factory=dict, description="entity -> file with more such words, one per line; they are not logged"
    )
    patterns: dict[str, str | CustomPattern] = Field(
        default_factory=dict, description="own entity -> RE2 pattern, such as staff ids, or {regex, score, context}"
    )
    ner: NerConfig | None = Field(None, description="None: names and addresses are not looked for")
    on_undecided: UndecidedPolicy = Field("quarantine", description="what happens to a row on which a detector failed")
    accelerate: bool = Field(
        True,
        description="run a recognizer only where it can match, which leans on private parts of presidio and Python;"
        " false: every recognizer on every text, with equal findings",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_of_older_records(cls, values: Any) -> Any:
        """Records of older runs name one worker and the language en, which is what happens without a word. Any other
        number of workers is said elsewhere now.
        """
        if not isinstance(values, dict):
            return values
        if (workers := values.get("workers", 1)) != 1:
            raise ValueError(
                "workers: moved to run.executor of the infra file, since they decide no number: remove it here, and set"
                f" `run: {{executor: {{kind: processes, workers: {workers}}}}}` in configs/infra/NAME.yaml, or say"
                f" --workers {workers} on the command line"
            )
        return {k: v for k, v in values.items() if k != "workers" and (k, v) != ("language", "en")}

    @field_validator("thresholds")
    @classmethod
    def _scores(cls, thresholds: dict[str, float]) -> dict[str, float]:
        for entity, score in thresholds.items():
            if not 0 <= score <= 1:
                raise ValueError(f"{entity}: a score lies between 0 and 1, not {score}")
        return thresholds

    @field_validator("locales")
    @classmethod
    def _once(cls, locales: tuple[Locale, ...]) -> tuple[Locale, ...]:
        if len(set(locales)) < len(locales):
            raise ValueError("each locale counts once")
        return locales

    @field_validator("profile", mode="before")
    @classmethod
    def _profiles(cls, profile: Any) -> Any:
        if profile in (None, "none"):
            return ()
        return (profile,) if isinstance(profile, str) else profile

    @property
    def wanted(self) -> tuple[str, ...]:
        """Entities to look for by patterns: those named, those of the profiles and those of the locales; sorted."""
        return tuple(sorted({*self.entities, *entities_of(self.profile), *identifiers_of(self.locales)}))

    def wanted_of(self, detector: str) -> tuple[str, ...]:
        """Those of `wanted` that this detector looks for: "presidio" or a key of profiles.BESIDE_PRESIDIO."""
        return tuple(e for e in self.wanted if detector_of(e) == detector)

    @property
    def custom(self) -> tuple[str, ...]:
        """Entities of this config's own patterns and words, sorted."""
        return tuple(sorted({*self.patterns, *self.deny, *self.deny_files}))

    @property
    def word_files(self) -> tuple[str, ...]:
        """Files that the config names, sorted."""
        return tuple(sorted({*self.deny_files.values(), *([self.allow_file] if self.allow_file else [])}))

    @property
    def replaced(self) -> tuple[str, ...]:
        """Every entity that can be found, and so replaced, under this config; sorted."""
        return tuple(sorted({*self.wanted, *self.custom, *(self.ner.entities if self.ner else ())}))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.replaced:
            if not all(c == "_" or "A" <= c <= "Z" for c in name) or not 2 <= len(name) <= 40 or name[0] == "_":
                raise ValueError(f"{name!r} is no entity name: use 2 to 40 capital letters and underscores")
        clash = sorted(set(self.patterns) & set(self.wanted_of("presidio")))
        if clash:
            raise ValueError(f"{clash[0]} is a presidio entity: give your own pattern another name")
        unknown = sorted(set(self.thresholds) - {*self.wanted, *self.patterns})
        if unknown:
            raise ValueError(f"a threshold is set for {unknown[0]}, which isn't among the entities looked for")
        if not self.replaced:
            raise ValueError("nothing to look for: entities, profile, patterns, deny and ner are all empty")
        return self

    @model_validator(mode="after")
    def _covers_its_profiles(self) -> Self:
        needless = sorted(set(self.accept_uncovered) - set(MODEL_ENTITIES))
        if needless:
            raise ValueError(f"accept_uncovered lists {needless[0]}; it is for {', '.join(MODEL_ENTITIES)} only")
        found = self.ner.entities if self.ner else ()
        missing = [e for e in needing_a_model(self.profile) if e not in (*found, *self.accept_uncovered)]
        if missing:
            asking = [p for p in self.profile if needing_a_model([p])]
            raise ValueError(
                f"profile {' and '.join(asking)} needs {', '.join(missing)}, which only a model finds: "
                "name one (ner: {engine: spacy, model: en_core_web_lg}, after python -m spacy download "
                f"en_core_web_lg) with these in ner.entities, or state accept_uncovered: [{', '.join(missing)}]"
            )
        return self
