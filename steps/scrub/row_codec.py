"""What is cached about a row between runs: where the findings are, never what stands there."""

import json
from collections.abc import Mapping, Sequence

from steps.contracts.digests import canonical_json, value_digest
from steps.contracts.row_cache import Origin
from steps.engines.rows.segments import Segment
from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.pseudonyms.key import key_fingerprint

# Beside what a row says: findings are looked for in `meta` too; the split decides nothing.
KEY_COLUMNS = ("meta",)
# They decide how and with which key the work is done, or what becomes of rows that are never kept.
_NO_MATTER = {"accelerate", "on_undecided", "key_env", "demo_key"}


def origin(config: ScrubConfig, key: bytes, code: str, key_id: str) -> Origin:
    """What a row's findings depend on besides the row. The key matters: replaced text is searched again.

    `key_id` also names the files that the settings point to; "" where the caller doesn't know more than the key.
    """
    settings = value_digest(config.model_dump(mode="json", exclude=_NO_MATTER))
    return Origin(stage="scrub", config=settings, code=code, key_id=key_id or key_fingerprint(key))


def search_digest(config: ScrubConfig, key_id: str) -> str:
    """Names what is looked for and what is put in its place; `key_id` as for `origin`."""
    return value_digest([config.model_dump(mode="json", exclude=_NO_MATTER), key_id])


def encoded(texts: Sequence[Segment], found: Mapping[str, list[Finding] | None]) -> str:
    """The findings of one row by path, as JSON; "" when there are none."""
    by_path = {s.path: [_plain(f) for f in findings] for s in texts if (findings := found[s.text])}
    return canonical_json(by_path) if by_path else ""


def _plain(f: Finding) -> list[int | float | str]:
    # Models give scores as numpy numbers.
    return [f.start, f.end, f.entity, float(f.score), f.recognizer]


def decoded(cached: str, texts: Sequence[Segment]) -> dict[str, list[Finding] | None]:
    """The findings of each of the row's texts."""
    by_path = json.loads(cached)
    return {s.text: [Finding(*f) for f in by_path.get(s.path, ())] for s in texts}
