"""What is cached about a row between runs: hits by place and rule, and the decision; no text of the row."""

import json
from typing import Any

from steps.contracts.digests import canonical_json, value_digest
from steps.contracts.records import Row
from steps.contracts.row_cache import Origin
from steps.engines.rows.segments import segments
from steps.screen.config import ScreenConfig
from steps.screen.scan import sampled
from steps.screen.screener import PASSED, ScreenResult

# Beside what a row says: rules and patterns apply to some splits only.
KEY_COLUMNS = ("split",)


def origin(config: ScreenConfig, code: str) -> Origin:
    """What a result depends on besides the row."""
    # What models find is cached by the digest of the text.
    settings = config.model_dump(mode="json", exclude={"classifiers", "topics"})
    return Origin(stage="screen", config=value_digest(settings), code=code)


def encoded(result: ScreenResult) -> str:
    """The result as JSON without the samples of text; "" when nothing was found."""
    if result == PASSED:
        return ""
    value = result.as_json()
    return canonical_json({**value, "found": [{**f, "sample": _how_shown(f["sample"])} for f in value["found"]]})


def decoded(cached: str, row: Row) -> ScreenResult:
    """The result of this row again."""
    value = json.loads(cached)
    texts = {s.path: s.text for s in segments(row)}
    found = [{**f, "sample": _sample(f, texts)} for f in value["found"]]
    return ScreenResult.from_json({**value, "found": found})


def _how_shown(sample: str) -> str:
    masked = sample.endswith("***") and len(sample) <= len("x***")
    return "masked" if masked else "shown" if sample else ""


def _sample(found: dict[str, Any], texts: dict[str, str]) -> str:
    how = found["sample"]
    return sampled(texts[found["path"]][found["start"] : found["end"]], how == "shown") if how else ""
