"""What a model has written, searched as scrub searches rows: it may know personal data that the rows don't hold, or put
what scrub took for something else into words that say what it is.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from steps.contracts.context import Clean
from steps.scrub.config import ScrubConfig
from steps.scrub.detectors import Detectors
from steps.scrub.findings import Finding, replaced
from steps.scrub.pseudonyms.key import read_key
from steps.scrub.redactor import Redactor
from steps.scrub.word_files import with_words


def cleaner(settings: str, root: Path) -> Clean:
    """What replaces personal data in texts of models. `settings`: a ScrubConfig as JSON, whose word files lie below
    `root`. In texts a detector failed on nothing is known: they are None.

    In mode `surrogate` values stay that the model was shown: scrub itself put them there.

    Raises:
        ConfigError: no key is set. InputNotFoundError: a word file isn't there.
        MissingDependencyError: the NER model isn't there.
    """
    config = with_words(ScrubConfig.model_validate_json(settings), root)
    redactor, detectors = Redactor(config, read_key(config)), Detectors(config)

    def clean(texts: Sequence[str], shown: str) -> list[str | None]:
        found = redactor.find(texts, detectors)
        return [_cleaned(text, found[text], shown) for text in texts]

    def _cleaned(text: str, findings: Sequence[Finding] | None, shown: str) -> str | None:
        if findings is None:
            return None
        if config.mode == "surrogate":
            findings = [f for f in findings if not _stands(text[f.start : f.end], shown)]
        return replaced(text, redactor.replacements(text, findings))[0]

    return clean


def _stands(value: str, shown: str) -> bool:
    """Whether a model was shown a value, as it is or as JSON has it."""
    return value in shown or json.dumps(value)[1:-1] in shown
