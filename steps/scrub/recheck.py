"""What scrub does to one row that a person wrote or edited, outside a run."""

import functools
from dataclasses import dataclass

from steps.contracts.context import StageContext
from steps.contracts.records import Row
from steps.engines.rows.segments import segments
from steps.scrub.config import ScrubConfig
from steps.scrub.detectors import Detectors
from steps.scrub.pseudonyms.key import read_key
from steps.scrub.redactor import Redactor
from steps.scrub.word_files import with_words


@dataclass(frozen=True)
class Rechecked:
    """The row with what was found in it replaced.

    Attributes:
        replaced: entity -> values that were replaced.
        spans: where they stood, as in the stage's ledger: path, start, end, entity, pseudonym.
        unsearched: paths of texts on which a detector failed.
    """

    row: Row
    replaced: dict[str, int]
    spans: tuple[tuple[str, int, int, str, str], ...]
    unsearched: tuple[str, ...]


def recheck(row: Row, config: ScrubConfig, ctx: StageContext, before: Row | None = None) -> Rechecked:
    """Search and replace as `scrub` would. Word files of the config lie below `ctx.root`.

    `before`: the row as scrub left it before the person changed it. Surrogates that scrub put there look personal, and
    stay.

    Raises:
        ConfigError: no key is set. InputNotFoundError: a word file isn't there.
        MissingDependencyError: the NER model isn't there.
    """
    config = with_words(config, ctx.root)
    redactor, detectors = Redactor(config, read_key(config)), _detectors(config.model_dump_json())
    texts = segments(row, everything=True)
    found = redactor.find((s.text for s in texts), detectors)
    unsearched = tuple(s.path for s in texts if found[s.text] is None)
    if before is not None and config.mode == "surrogate":
        surrogates = _values(before, redactor, detectors)
        for text, findings in found.items():
            found[text] = [f for f in findings or () if text[f.start : f.end] not in surrogates]
    redacted = redactor.redacted(row, texts, found)
    return Rechecked(redacted.row, dict(sorted(redacted.entities.items())), tuple(redacted.spans), unsearched)


def _values(row: Row, redactor: Redactor, detectors: Detectors) -> frozenset[str]:
    """Everything in the row that looks personal."""
    found = redactor.find((s.text for s in segments(row, everything=True)), detectors)
    return frozenset(text[f.start : f.end] for text, findings in found.items() for f in findings or ())


@functools.lru_cache(maxsize=1)
def _detectors(config: str) -> Detectors:
    """Made once for all rows of a review; `config` as JSON."""
    return Detectors(ScrubConfig.model_validate_json(config))
