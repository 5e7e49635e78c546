"""What nothing needs any more: found by what is needed, and by its age."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeGuard

from materializers import layout
from ops.garbage.needed import ARTIFACT, Needed, needed_in
from ops.garbage.stores import Entry, Store, newest_in, size_of
from ops.removals import read_removals
from steps.contracts.digests import bytes_digest
from steps.contracts.errors import AssayError, InputNotFoundError, IntegrityError
from steps.contracts.removal import Removal
from steps.contracts.runs import ArtifactRecord
from steps.zenml_runtime.state import state_folder

_SHARD = re.compile(r"shards/[^/]+$")
_PART = re.compile(r"(dedup_parts/[^/]+)(?:/|$)")
_NAME = re.compile(rb"[0-9a-f]{16,64}")
# Types whose manifests name files that others name as well.
_SHARING = ("dataset", "index")
# Reading waits for the store.
_READERS = 16

ARTIFACT_KIND = "artifact that no run names"
SHARD_KIND = "shard of rows that no dataset names"
PART_KIND = "part of a dedup index that none names"


@dataclass(frozen=True)
class Waste:
    """One file or folder that nothing needs.

    Attributes:
        kind: what it is, in words.
        uri: where; name: the same below the root of the artifact store, "" for what lies elsewhere.
        main: of an artifact, its main file's name.
    """

    kind: str
    uri: str
    bytes: int
    name: str = ""
    main: str = ""


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        young: what nothing needs, but is younger than the grace; it isn't in `waste`.
        missing: what runs name and isn't there, though nobody removed it on purpose.
        unknown: what can't be read and may need anything; then `waste` has nothing of what it may need.
    """

    waste: tuple[Waste, ...]
    young: tuple[Waste, ...] = ()
    missing: tuple[AssayError, ...] = ()
    unknown: tuple[AssayError, ...] = ()

    @property
    def exit_status(self) -> int:
        """0; else that of what is missing or damaged, or of what didn't answer."""
        return max((e.exit_code for e in (*_as_damage(self.missing), *self.unknown)), default=0)


def _as_damage(missing: Iterable[AssayError]) -> Iterator[AssayError]:
    return (IntegrityError(e.what) for e in missing)


def find_waste(
    root: Path,
    store: Store,
    without: Collection[str] = (),
    grace: timedelta = timedelta(),
    registries: Collection[str] | None = None,
) -> Found:
    """All that nothing needs in an artifact store; where it is the state folder's own, in that folder too. Within
    `quiet`; the parameters are those of `needed_in`.

    Raises:
        ServiceError: the store can't be reached.
    """
    entries = store.entries()
    needed = needed_in(store, entries, root, without, registries)
    names, unread = _shared(store, entries, needed)
    missing = _missing(store, entries, needed)
    kinds: dict[str, Collection[str]] = {}
    if not needed.unknown:
        kinds[ARTIFACT_KIND] = needed.artifacts
        if not unread:
            kinds |= {SHARD_KIND: names, PART_KIND: names}
    before = time.time() - grace.total_seconds()
    everything = [*_unneeded(store, entries, kinds), *(_here(root) if is_own(root, store) else ())]
    return Found(
        tuple(w for w, newest in everything if newest <= before),
        tuple(w for w, newest in everything if newest > before),
        tuple(missing),
        (*needed.unknown, *unread),
    )


def is_own(root: Path, store: Store) -> bool:
    """Whether it is the artifact store of the state folder."""
    return store.uri == str(state_folder(root) / "artifacts")


def _unneeded(
    store: Store, entries: Mapping[str, Entry], kinds: Mapping[str, Collection[str]]
) -> Iterator[tuple[Waste, float]]:
    """Artifacts, shards and parts that aren't needed, with the time of their last change; `kinds`: what is needed of
    each kind that is asked for.
    """
    found: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for name, entry in entries.items():
        if (unit := _unit(name)) is not None:
            found[unit].append(entry)
    for (kind, name), parts in found.items():
        if kind in kinds and _key(kind, name) not in kinds[kind]:
            main = _main(name, entries) if kind == ARTIFACT_KIND else ""
            waste = Waste(kind, f"{store.uri}/{name}", sum(e.bytes for e in parts), name, main)
            yield waste, max(e.modified for e in parts)


def _main(artifact: str, entries: Mapping[str, Entry]) -> str:
    return next((n for n in layout.MAIN.values() if f"{artifact}/{n}" in entries), layout.VALUE)


def _unit(name: str) -> tuple[str, str] | None:
    """Kind and name of what goes as one with the file of this name."""
    if match := ARTIFACT.match(name):
        return ARTIFACT_KIND, match[1]
    if _SHARD.match(name):
        return SHARD_KIND, name
    return (PART_KIND, match[1]) if (match := _PART.match(name)) else None


def _key(kind: str, name: str) -> str:
    """Name under which something is needed: of a shard its SHA-256."""
    if kind == ARTIFACT_KIND:
        return name
    last = name.rpartition("/")[2]
    return last.split(".")[0] if kind == SHARD_KIND else last


def _shared(store: Store, entries: Mapping[str, Entry], needed: Needed) -> tuple[set[str], list[AssayError]]:
    """Names of the shards and parts that needed manifests name; and which of these can't be read."""
    manifests = [f"{name}/{layout.MANIFEST}" for name in sorted(needed.artifacts)]
    with ThreadPoolExecutor(_READERS) as readers:
        texts = list(readers.map(lambda m: store.read(m) if m in entries else None, manifests))
    removed = _removed(store) if any(t is None for t in texts) else ()
    names, unread = set[str](), list[AssayError]()
    for manifest, text in zip(manifests, texts, strict=True):
        artifact = needed.recorded.get(manifest.rpartition("/")[0])
        where = f"{store.uri}/{manifest}"
        if text is not None:
            names |= {name.decode() for name in _NAME.findall(text)}
            if _shares(artifact) and artifact.sha256 not in (None, bytes_digest(text)):
                what = "which shards it names can't be known, so no shard is removed: it was changed"
                unread.append(IntegrityError(what, where=where))
        elif _shares(artifact) and not any(r.covers(where) for r in removed):
            what = "which shards it names can't be known, so no shard is removed: it is gone"
            unread.append(IntegrityError(what, where=where, hint="restore it, or remove its run: assay runs rm RUN"))
    return names, unread


def _shares(artifact: ArtifactRecord | None) -> TypeGuard[ArtifactRecord]:
    return artifact is not None and artifact.type in _SHARING


def _missing(store: Store, entries: Mapping[str, Entry], needed: Needed) -> Iterator[AssayError]:
    """Artifacts that records name, and of which nothing is there."""
    there = {m[1] for m in map(ARTIFACT.match, entries) if m}
    gone = sorted(name for name in needed.recorded if ARTIFACT.match(name) and name not in there)
    removed = _removed(store) if gone else ()
    for name in gone:
        where = f"{store.uri}/{name}"
        if not any(r.covers(where) for r in removed):
            hint = "assay audit --verify says what stands on it; assay runs rm RUN forgets a run"
            yield InputNotFoundError("a run names it, and it is gone", where=where, hint=hint)


def _removed(store: Store) -> list[Removal]:
    return [signed.removal for signed in read_removals(store.uri) if signed.key is not None]


def _here(root: Path) -> Iterator[tuple[Waste, float]]:
    """Of the state folder besides its artifact store: what no run will go on from, and copies."""
    state = state_folder(root)
    groups = {
        "checkpoints of training that has ended": filter(_is_finished, sorted((state / "checkpoints").glob("*/*"))),
        "copy of a file of a remote store": (state / "cache" / "opened").glob("*"),
        "tokens of rows, kept for a training that didn't come": (state / "tokens").glob("*"),
    }
    for kind, paths in groups.items():
        for path in paths:
            yield Waste(kind, str(path), size_of(path)), newest_in(path)


def _is_finished(folder: Path) -> bool:
    """Whether training reached its last step: its model is an artifact, and no run will go on from here."""
    return any(_is_last(state) for state in folder.glob("checkpoint-*/trainer_state.json"))


def _is_last(trainer_state: Path) -> bool:
    try:
        said = json.loads(trainer_state.read_bytes())
        return int(said["global_step"]) >= int(said["max_steps"]) > 0
    except (OSError, ValueError, KeyError, TypeError):
        return False
