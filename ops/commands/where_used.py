"""`assay where-used`: every dataset version, run, model and export that contains a row, a source or a person."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ops.commands.explain import nothing, tell_gaps, tell_seen
from ops.console import emit, heading, say, show_table
from ops.lineage.catalogue import load_catalogue
from ops.lineage.ways import Lineage
from ops.lineage.where_used import Uses, Wanted, near_sources, record_or_source, subject, uses_of
from steps.contracts.errors import InputError

_SHORT = 16
# Chosen: of the runs that share a version so many are named.
_RUNS = 3


def show_uses(root: Path, query: str | None, values: Sequence[str], in_text: bool, json_output: bool) -> int:
    """Print what contains the row or source that `query` means, or the person of these values (one of them "-": read
    from standard input, a line each). Returns the exit status: 0, or that of an integrity error when something that the
    answer may lack can't be read.

    Raises:
        InputError: neither is named, or both. InputNotFoundError: nothing fits. IntegrityError: nothing fits in what
            can be read, and there is more.
    """
    if (query is None) == (not values):
        raise InputError("name a row or a source, or a person with --subject", where="assay where-used")
    lineage = Lineage(load_catalogue(root))
    if query is not None:
        wanted = record_or_source(lineage, query)
        if wanted is None:
            raise nothing(lineage.catalogue, f"no row or source {query!r}", near_sources(lineage, query))
    else:
        wanted = subject(lineage, _values(values), in_text)
        if wanted is None:
            found_none = "scrub found no such value in any run"
            if in_text:
                raise nothing(lineage.catalogue, f"no text of any run says such a value, and {found_none}")
            raise nothing(lineage.catalogue, found_none, "--in-text looks through texts too")
    uses = uses_of(lineage, wanted)
    lineage.catalogue.known.save()
    gaps = lineage.catalogue.gaps
    if json_output:
        what = {"what": wanted.what, "rows": wanted.records, "made_from_others": wanted.made}
        emit({**what, **asdict(uses), "not_read": [asdict(g) for g in gaps]})
    else:
        _show(wanted, uses)
    return tell_gaps(gaps)


def _values(given: Sequence[str]) -> list[str]:
    """The values, those of standard input among them, where no shell's history keeps them."""
    read = [line.strip() for line in sys.stdin] if "-" in given else []
    values = [v for v in [*given, *read] if v not in ("", "-")]
    if not values:
        raise InputError("no value to look for", where="--subject")
    return list(dict.fromkeys(values))


def _show(wanted: Wanted, uses: Uses) -> None:
    made = f", {wanted.made:,} of them made from others" if wanted.made else ""
    heading(f"{wanted.what}: {wanted.records:,} row{'s' * (wanted.records != 1)}{made}")
    if uses.versions:
        rows = [
            [v.artifact, v.stage, v.digest[:_SHORT], v.rows, v.of, _named(v.runs)] for v in uses.versions
        ]  # fmt: skip
        show_table(["dataset version", "stage", "digest", "rows", "of", "runs"], rows, numeric=[3, 4])
    else:
        say("in no dataset version: only ledgers name it")
    say(f"runs that contain it: {len(uses.runs):,}" + (f" ({_named(uses.runs)})" if uses.runs else ""))
    for seen in uses.models:
        say(tell_seen(seen))
    if not uses.models:
        say("no model was trained on it")
    if uses.exports:
        rows = [[e.place, e.to, e.run, e.at, e.rows, e.standing] for e in uses.exports]
        show_table(["export", "as", "run", "at", "rows", "still there"], rows, numeric=[4])
    else:
        say("no export that was noted on this machine holds it")


def _named(runs: Sequence[str]) -> str:
    more = f" and {len(runs) - _RUNS} more" if len(runs) > _RUNS else ""
    return ", ".join(runs[:_RUNS]) + more
