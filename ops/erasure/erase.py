"""An erasure carried out: what was planned is kept until all of it is done, so that who is killed goes on from there.

The order: the plan, so that nothing is forgotten; the tombstone, so that nothing comes back; what ZenML knows of the
runs, so that no step is taken from its cache; the files; the databases' free pages; then everything is searched again,
and the certificate says what was found. The plan goes last.
"""

import fcntl
import secrets
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ops.erasure.needles import Needles
from ops.erasure.opened import row_bytes, tables
from ops.erasure.places import JOURNALS, LEFT, PLAN, Place, is_candidates
from ops.erasure.plan import Plan, Search, make_plan
from ops.erasure.rows import Request
from ops.garbage.collection import quiet
from ops.garbage.stores import Store
from ops.lineage.catalogue import load_catalogue
from ops.removals import keep_removal, who
from steps.contracts import removal
from steps.contracts.errors import InputNotFoundError, IntegrityError, StorageError
from steps.contracts.removal import Removal, RemovedFile
from steps.contracts.storage import write_whole, writing
from steps.contracts.tombstones import Tombstone
from steps.zenml_runtime.state import clear_workspaces, state_folder
from steps.zenml_runtime.tombstones import tombstone_stores


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Held by one erasure of this state folder.

    Raises:
        StorageError: another one is on its way.
    """
    file = state_folder(root) / "locks" / "erase"
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise StorageError("another erasure is on its way", where=str(file), hint="wait for its end") from e
        yield


@contextmanager
def _nobody_else(root: Path) -> Iterator[None]:
    """While neither another erasure nor a run of this machine is on its way. Raises StorageError as both."""
    with alone(root), quiet(root, Store(str(state_folder(root) / "artifacts"))):
        yield


def planned(root: Path, request: Request, also: Sequence[str] = ()) -> Plan:
    """The plan of an erasure; nothing is changed.

    Raises:
        InputError: the request can't be understood. InputNotFoundError: nothing has to do with it.
        StorageError: a run or another erasure is on its way, or one was begun and has to be finished first.
        ServiceError: a place can't be reached.
    """
    asked = request.checked()
    with _nobody_else(root):
        _refuse_unfinished(root)
        return _plan(root, asked, also)


def erase(root: Path, request: Request, also: Sequence[str] = ()) -> Removal:
    """Plan and carry out.

    Raises:
        As `planned`. StorageError: what is to go belongs to a run that goes on elsewhere, or to somebody else; or
            something can't be removed. Once something was removed `go_on` goes on.
    """
    asked = request.checked()
    with _nobody_else(root):
        _refuse_unfinished(root)
        plan = _plan(root, asked, also)
        _refuse_others(plan)
        write_whole(_journal(root, plan.id) / PLAN, plan.kept().model_dump_json())
        return carry_out(root, plan)


def go_on(root: Path, values: Sequence[str] = ()) -> Removal:
    """Finish the erasure that was begun, or look again for what the last one left. `values`: those that it was asked
    for, which are written down nowhere.

    Raises:
        InputNotFoundError: there is none. IntegrityError: its plan can't be read. InputError: other values.
    """
    with _nobody_else(root):
        plan = _read_plan(root, PLAN) or _read_plan(root, LEFT)
        if plan is None:
            raise InputNotFoundError("no erasure was begun and not finished", where=str(state_folder(root) / JOURNALS))
        plan = plan.resumed(values)
        _refuse_others(plan)
        return carry_out(root, plan)


def unfinished(root: Path) -> Plan | None:
    """The plan of the erasure that was begun and not finished."""
    return _read_plan(root, PLAN)


def _read_plan(root: Path, name: str) -> Plan | None:
    """The newest one of this name."""
    files = (state_folder(root) / JOURNALS).glob(f"*/{name}")
    for file in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True):
        try:
            return Plan.model_validate_json(file.read_bytes())
        except ValidationError as e:
            raise IntegrityError(
                "the plan of an erasure can't be read", where=str(file), hint="remove it, then ask for it again"
            ) from e
    return None


def carry_out(root: Path, plan: Plan) -> Removal:
    """Do what a plan says, whatever of it was done before."""
    _leave_tombstone(plan)
    _forget([run_id for run_id, _ in plan.runs])
    places = [Place(uri, what) for uri, what in plan.places]
    by_uri = {p.uri: p for p in places}
    for file in plan.files:
        with writing(Path(file.name or file.place)):
            by_uri[file.place].remove(file.name)
    for file in plan.lines:
        _drop_lines(by_uri[file.place], file.name, plan.needles)
    clear_workspaces()
    for database in plan.databases:
        _clean_database(Path(database), plan.needles if database in plan.own else None)
    certificate = _certified(plan, Search(places, plan.needles).run())
    keep_removal(root, certificate, (str(state_folder(root)), *plan.stores))
    _close(_journal(root, plan.id), plan, certificate)
    return certificate


def _close(folder: Path, plan: Plan, certificate: Removal) -> None:
    """What was looked for is kept only while something is left."""
    if certificate.holds:
        (folder / LEFT).unlink(missing_ok=True)
    else:
        write_whole(folder / LEFT, plan.kept().model_dump_json())
    (folder / PLAN).unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        folder.rmdir()


def _plan(root: Path, request: Request, also: Sequence[str]) -> Plan:
    plan = make_plan(load_catalogue(root), request, also, secrets.token_hex(16), secrets.token_hex(16))
    if not (plan.rows or plan.files or plan.lines) and not request.values:
        raise InputNotFoundError(
            "no stored row has to do with this", where="assay erase", hint="assay explain finds rows"
        )
    return plan


def _refuse_unfinished(root: Path) -> None:
    plan = unfinished(root)
    if plan is not None:
        raise StorageError(
            f"erasure {plan.id} was begun and not finished", where=str(_journal(root, plan.id)),
            hint="assay erase --continue finishes it",
        )  # fmt: skip


def _refuse_others(plan: Plan) -> None:
    from steps.zenml_runtime.garbage import others_runs, unfinished

    if going := [name for store in plan.stores for name in unfinished(store)]:
        raise StorageError(
            f"runs go on that store where rows are to be erased: {', '.join(going)}", where="assay erase",
            hint="wait for their end",
        )  # fmt: skip
    if others := others_runs([run_id for run_id, _ in plan.runs]):
        raise StorageError(
            f"the rows are also in runs of another user of this ZenML server: {', '.join(others)}",
            where="assay erase", hint="whoever started them can erase; nothing was removed",
        )  # fmt: skip


def _journal(root: Path, erasure: str) -> Path:
    return state_folder(root) / JOURNALS / erasure


def _leave_tombstone(plan: Plan) -> None:
    """Everywhere that later runs look, before anything is removed. One that is there stays."""
    stone = Tombstone(
        erasure=plan.id, erased=_now(), records=plan.records, contents=plan.copies, sources=plan.request.sources,
        salt=plan.salt if plan.values else "", values=plan.values,
    )  # fmt: skip
    for store in tombstone_stores(plan.stores):
        store.put_new(f"{plan.id}.json", stone.model_dump_json(indent=1).encode())


def _forget(run_ids: Sequence[str]) -> None:
    from steps.zenml_runtime.garbage import forget_run, forget_unused_artifacts

    for run_id in run_ids:
        forget_run(run_id)
    forget_unused_artifacts()


def _drop_lines(place: Place, name: str, needles: Needles) -> None:
    with place.opened(name) as path:
        if not path.is_file():
            return
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not needles.found_line(line)]
        if not kept and is_candidates(place.uri_of(name)):
            place.remove(name)
        elif len(kept) < len(lines):
            mode = path.stat().st_mode
            write_whole(path, b"".join(kept))
            path.chmod(mode)


def _clean_database(file: Path, needles: Needles | None) -> None:
    """Delete the rows that hold something, and leave no free page and no log with what was deleted."""
    if not file.is_file():
        return
    try:
        with closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as db:
            if needles is not None:
                db.create_function("holds", -1, lambda *values: _holds(values, needles))
                for table in tables(db):
                    columns = ", ".join(f'"{c[1]}"' for c in db.execute(f'PRAGMA table_info("{table}")'))
                    db.execute(f'DELETE FROM "{table}" WHERE holds({columns})')
            db.execute("PRAGMA secure_delete=ON")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as e:
        raise StorageError(f"the database can't be cleared: {e}", where=str(file), hint="close what has it open") from e


def _holds(values: tuple[object, ...], needles: Needles) -> bool:
    return needles.replied(values) or bool(needles.found(row_bytes(values)))


def _certified(plan: Plan, search: Search) -> Removal:
    hidden = plan.needles.masked
    left = [f"{uri}: {why}" for uri, why in sorted(search.found.items())]
    still = {(p.uri, name) for p, name in search.files.values()} & {(f.place, f.name) for f in plan.files}
    left += [f"{place}/{name}: it is still there" for place, name in sorted(still)]
    left += [f"{said} (so nobody can say what it holds)" for said in search.unread]
    asked = plan.request
    return Removal(
        id=plan.id, by="erase", removed=_now(), host=socket.gethostname(), user=who(),
        request={"records": len(asked.records), "sources": len(asked.sources), "values": len(plan.values)},
        files=tuple(RemovedFile(uri=hidden(f"{f.place}/{f.name}" if f.name else f.place), what=f.what, sha256=f.sha256)
                    for f in plan.files),
        folders=plan.folders, rows=plan.rows, versions=plan.versions, runs=tuple(name for _, name in plan.runs),
        weights=plan.weights,
        sources=plan.sources, searched=tuple(f"{what} {uri}" for uri, what in plan.places),
        searched_files=len(search.files), not_searched=tuple(dict.fromkeys(plan.not_searched)),
        left=tuple(map(hidden, left)),
    )  # fmt: skip


def certificate_path(root: Path, certificate: Removal) -> Path:
    """Where this machine's copy of a certificate lies."""
    return state_folder(root) / removal.FOLDER / f"{certificate.id}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
