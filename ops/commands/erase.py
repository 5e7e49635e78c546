"""`assay erase`: a right-to-erasure request, planned, carried out and certified."""

import sys
from collections.abc import Iterator, Sequence
from getpass import getpass
from itertools import groupby
from pathlib import Path

from ops.console import emit, say, show_table
from ops.erasure.erase import certificate_path, erase, go_on, planned
from ops.erasure.plan import Plan
from ops.erasure.rows import Request
from steps.contracts.errors import InputError, IntegrityError
from steps.contracts.removal import Removal, StayingWeights

_SHOWN = 20
# Asked for, so that no shell's history keeps it.
_ASKED = "-"


def requested(rows: Sequence[str], sources: Sequence[str], values: Sequence[str]) -> Request:
    """What the options ask for."""
    return Request(rows=tuple(_given(rows)), sources=tuple(sources), values=tuple(_given(values)))


def _given(said: Sequence[str]) -> Iterator[str]:
    """What is said; in place of "-" what is typed without being shown, or the lines of standard input."""
    for one in said:
        if one != _ASKED:
            yield one
            continue
        lines = [getpass("value: ")] if sys.stdin.isatty() else sys.stdin.read().splitlines()
        typed = [line.strip() for line in lines if line.strip()]
        if not typed:
            raise InputError("nothing was given", where=f"assay erase {_ASKED}")
        yield from typed


def show_plan(root: Path, request: Request, also: list[str], json_output: bool) -> None:
    """Print what an erasure would do."""
    plan = planned(root, request, also)
    if json_output:
        emit(_told(plan))
        return
    say(f"{_rows(plan.rows)}, from:" if plan.sources else f"{_rows(plan.rows)} in what runs have stored")
    for source in plan.sources[:_SHOWN]:
        say(f"  {source}")
    if len(plan.sources) > _SHOWN:
        say(f"  and {len(plan.sources) - _SHOWN:,} more places (--json has them all)")
    groups = groupby(sorted(plan.files, key=lambda f: (f.what, f.why)), lambda f: (f.what, f.why))
    lines = [[what, why, len(list(group))] for (what, why), group in groups]
    lines += [[f.what, f.why, 1] for f in plan.lines]
    if lines:
        show_table(["what goes", "found", "files"], lines, numeric=[2])
    if plan.versions:
        say(f"{_versions(len(plan.versions))} of {_named(plan)}; runs of their configs make new ones, without the rows")
    _tell_weights(plan.weights)
    _tell_not_searched((*plan.unread, *plan.not_searched))
    say("files that rows were read from are yours: remove the rows there; from --yes on every run refuses them")
    say("nothing was removed (--yes does it)")


def carry_out(root: Path, request: Request, also: list[str], json_output: bool) -> None:
    """Erase, and print the certificate. Raises as `finish`."""
    _certify(root, erase(root, request, also), json_output)


def finish(root: Path, request: Request, json_output: bool) -> None:
    """Finish what was begun, and print the certificate.

    Raises:
        IntegrityError: something is left; the certificate says what.
    """
    if request.rows or request.sources:
        raise InputError("what was begun is known; only its values are given again", where="assay erase --continue")
    _certify(root, go_on(root, request.values), json_output)


def _certify(root: Path, certificate: Removal, json_output: bool) -> None:
    path = certificate_path(root, certificate)
    if json_output:
        emit({**certificate.model_dump(mode="json"), "holds": certificate.holds, "certificate": str(path)})
    else:
        done = "erased" if certificate.holds else "NOT ERASED"
        files = f"{len(certificate.files):,} files removed"
        say(f"{done}: {_rows(certificate.rows)}, {files} (erasure {certificate.id})")
        if certificate.versions:
            names = ", ".join(certificate.runs[:_SHOWN])
            say(f"{_versions(len(certificate.versions))} of {names}: run their configs again")
        _tell_weights(certificate.weights)
        _tell_not_searched(certificate.not_searched)
        say(f"{certificate.searched_files:,} files searched afterwards; certificate {path}")
    if not certificate.holds:
        left = "\n  ".join(certificate.left[:_SHOWN])
        hint = "remove it there, then: assay erase --continue, with the same --subject"
        raise IntegrityError(f"something is left:\n  {left}", where=str(path), hint=hint)


def _told(plan: Plan) -> dict[str, object]:
    """What of a plan may be shown: not what is looked for."""
    hidden = {"needles", "salt", "request", "values", "places", "databases", "own", "id"}
    return {"removed": False, **plan.model_dump(mode="json", exclude=hidden)}


def _rows(number: int) -> str:
    return f"{number:,} row{'s' * (number != 1)}"


def _versions(number: int) -> str:
    return f"{number:,} dataset version{'s go' if number != 1 else ' goes'}"


def _named(plan: Plan) -> str:
    names = [name for _, name in plan.runs]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _tell_weights(weights: tuple[StayingWeights, ...]) -> None:
    for one in weights:
        sure = "was trained" if one.sure else "may have been trained"
        named = ", ".join(one.registered) or one.model[:12] or "a model"
        say(f"{named} of run {one.run} {sure} on them: weights are never erased; train anew, or retire it")


def _tell_not_searched(places: tuple[str, ...]) -> None:
    for place in places[:_SHOWN]:
        say(f"not searched: {place}")
    if len(places) > _SHOWN:
        say(f"not searched: {len(places) - _SHOWN:,} more (--json names them)")
