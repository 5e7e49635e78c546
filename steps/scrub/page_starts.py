"""Where the pages of a document start, in characters, once values in its text were replaced."""

import json
from collections.abc import Sequence

from steps.contracts.digests import canonical_json
from steps.scrub.findings import Replacement

# As ingest writes it into `meta`.
_STARTS = "page_starts"


def moved(meta: str, replacements: Sequence[Replacement]) -> str:
    """A row's `meta` whose page starts are those of the new text; as it is where there are none. `replacements`: in
    the order of the text, in characters of the old one.
    """
    if f'"{_STARTS}"' not in meta:
        return meta
    said = json.loads(meta)
    starts = said.get(_STARTS)
    if not isinstance(starts, list) or not all(isinstance(s, int) for s in starts):
        return meta
    return canonical_json({**said, _STARTS: [_moved(s, replacements) for s in starts]})


def _moved(start: int, replacements: Sequence[Replacement]) -> int:
    """A page that starts within a value starts where the value does."""
    shift = 0
    for r in replacements:
        if r.start >= start:
            break
        if r.end > start:
            return r.start + shift
        shift += len(r.new) - (r.end - r.start)
    return start + shift
