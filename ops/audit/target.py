"""Which registered version a reference means, and the record of the run behind it: from the index, or the registry."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from materializers.integrity import StoredRecord, read_stored
from ops.registered_names import registries
from ops.registries import ModelReference, parsed
from ops.run_index import known_runs, not_found
from steps.contracts.errors import AssayError, InputError, InputNotFoundError, IntegrityError
from steps.contracts.evaluation import Registration
from steps.contracts.runs import RunRecord
from steps.engines.tracking.secrets import without_secret


@dataclass(frozen=True)
class Target:
    """A registered version.

    Attributes:
        run: the run behind it: as the head of its chain says it, else as the index does.
        indexed: the same run as the index has it; None where the index doesn't know it.
        stored: the record that the registry's tags lead to; None where the registry wasn't asked or has no way to it.
        tags: of the registry; None where it wasn't asked.
        trouble: why the registry didn't answer; None where it did or wasn't asked.
    """

    registration: Registration
    run: RunRecord
    indexed: RunRecord | None = None
    stored: StoredRecord | None = None
    tags: Mapping[str, str] | None = None
    trouble: AssayError | None = None


def find(root: Path, text: str, ask: bool) -> Target:
    """The version that is meant; of several the newest. `ask`: look into the registry, whatever the index knows.

    Without asking, an alias is where the newest registration that carries it left it.

    Raises:
        InputError: not a reference, or versions of several registries fit. InputNotFoundError: there is none.
        ServiceError: the registry that the index knows nothing of can't be reached. IntegrityError: what it leads to is
            gone or damaged.
    """
    wanted = parsed(text)
    fits = _indexed(root, wanted)
    if not fits and not wanted.uri:
        raise _unknown(root, wanted)
    if fits and not ask:
        return _of_index(fits)
    uri = wanted.uri or _tracking_uri(fits[0])
    try:
        return _of_registry(replace(wanted, uri=uri), fits, root)
    except (AssayError, ImportError) as e:
        if not fits or not isinstance(e, AssayError):
            raise
        return replace(_of_index(fits), trouble=e)


def _of_index(fits: list[RunRecord]) -> Target:
    chosen = _registration(fits[0])
    same = [r for r in fits if r.registration == chosen]
    # A later run that took the registration from cache names the same version: the first one that ended made it.
    run = next((r for r in reversed(same) if r.status == "completed"), same[-1])
    return Target(_registration(run), run, indexed=run)


def _indexed(root: Path, wanted: ModelReference) -> list[RunRecord]:
    """Runs of the index that registered a version that fits, newest first; where there are several registries, of the
    one that MLFLOW_TRACKING_URI names.

    Raises:
        InputError: they are of several registries.
    """
    named = [r for r in known_runs(root) if r.registration and r.registration.name == wanted.name]
    registry = without_secret(wanted.uri)
    fits = [r for r in named if _fits(_registration(r), wanted, registry)]
    known = registries(fits)
    if len(known) <= 1:
        return fits
    chosen = without_secret(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if chosen in known:
        return [r for r in fits if _tracking_uri(r) == chosen]
    options = "\n  ".join(str(replace(wanted, uri=uri)) for uri in sorted(known))
    hint = f"MLFLOW_TRACKING_URI names none of them; say which is meant:\n  {options}"
    raise InputError(f"{wanted} is in {len(known)} registries", hint=hint)


def _fits(found: Registration, wanted: ModelReference, registry: str) -> bool:
    return (
        wanted.alias in (None, *found.aliases)
        and wanted.version in (None, found.version)
        and registry in ("", found.tracking_uri)
    )


def _registration(run: RunRecord) -> Registration:
    assert run.registration is not None
    return run.registration


def _tracking_uri(run: RunRecord) -> str:
    return _registration(run).tracking_uri


def _unknown(root: Path, wanted: ModelReference) -> AssayError:
    runs = [r for r in known_runs(root) if r.registration]
    named = [r for r in runs if _registration(r).name == wanted.name]
    known = sorted({f"{_registration(r).name}/{_registration(r).version}" for r in (named or runs)})
    hint = "known: " + ", ".join(known[:10]) if known else "no run of the index has registered a model yet"
    elsewhere = "; one of another machine: assay audit REGISTRY#MODEL, such as http://mlflow:5000#support"
    return not_found(root, InputNotFoundError(f"no run registered {wanted}", hint=hint + elsewhere))


def _of_registry(wanted: ModelReference, fits: list[RunRecord], root: Path) -> Target:
    """As the registry says it.

    Raises:
        ServiceError, InputNotFoundError, IntegrityError: as `find`.
    """
    from steps.register.registered import find_version

    version = wanted.version
    if version is None and wanted.alias is None and fits:
        version = _registration(_of_index(fits).run).version
    found = find_version(wanted.uri, wanted.name, version, wanted.alias)
    known = [r for r in fits if _registration(r).version == found.version]
    indexed = _of_index(known).run if known else None
    stored = read_stored(found.tags["record_uri"]) if "record_uri" in found.tags else None
    if stored is not None and stored.record is not None:
        indexed = next((r for r in known_runs(root) if r.run_id == stored.record.run_id), None)
        return Target(_registration_of(stored.record, found.version), stored.record, indexed, stored, found.tags)
    if indexed is None:
        raise _no_way(wanted, stored)
    return Target(_registration(indexed), indexed, indexed, stored, found.tags)


def _registration_of(record: RunRecord, version: str) -> Registration:
    """That of a record, which must be of this version: a record that was put in its place is of another one."""
    if record.registration is None or record.registration.version != version:
        raise IntegrityError(
            f"the record that version {version} leads to is of another registration", where=record.name
        )
    return record.registration


def _no_way(wanted: ModelReference, stored: StoredRecord | None) -> AssayError:
    if stored is None:
        return InputNotFoundError(
            f"the registry's tags of {wanted} lead to no record: it was registered by an older version",
            hint="audit it where its run is in the index, or bring it there by `assay runs --sync`",
        )
    said = "is gone" if stored.sha256 is None else "can't be read"
    return IntegrityError(f"the record of the run behind {wanted} {said}", where=stored.uri)
