"""Embeddings that are there before a model is asked: from the earlier run, from this machine, from this run."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np

from steps.contracts.digests import short_id
from steps.contracts.embeddings import CachedEmbeddings, EmbeddingsPart
from steps.contracts.errors import ServiceError
from steps.engines.embed.cached import CachedPart, Spool, as_keys, write_manifest, write_parts
from steps.engines.embed.sqlite_cache import SqliteCache
from steps.engines.embed.vectors import Done, NoVector, Vector

# Reads texts, and tells what it found.
Compute: TypeAlias = Callable[[Sequence[str], Done], None]

# Names in the counts.
REUSED, CACHED, READ = "known from the earlier run", "known on this machine", "read by the model"
DAMAGED = "damaged in the cache"


class EmbeddingCache:
    """The embeddings that one stage finds cached, and caches; a context manager.

    cache: folder of files that all runs on this machine share; None: none. earlier: what an earlier run kept.
    keep: folder for what a later run may reuse; None: nothing is kept.
    """

    def __init__(
        self, cache: Path | None = None, earlier: CachedEmbeddings | None = None, keep: Path | None = None
    ) -> None:
        self._cache, self._earlier, self._keep = cache, earlier, keep
        self._spaces: dict[str, CachedSpace] = {}

    def open(self, file: str, space: str) -> "CachedSpace":
        """What is cached of one space (a digest of a model and of how it is run), the same for all who ask.

        `file`: its name in the cache.
        """
        if space not in self._spaces:
            entries = zip(self._earlier.manifest.parts, self._earlier.files, strict=True) if self._earlier else ()
            parts = [CachedPart(part, path) for part, path in entries if part.space == space]
            cache = None if self._cache is None else SqliteCache(self._cache / file)
            spool = None if self._keep is None else Spool(self._keep / f"{len(self._spaces)}.spool")
            self._spaces[space] = CachedSpace(space, cache, parts, spool)
        return self._spaces[space]

    def write(self) -> CachedEmbeddings:
        """Write what this run found cached or computed; nothing of it when nothing is to be kept."""
        if self._keep is None:
            return CachedEmbeddings()
        parts = [entry for space in self._spaces.values() for entry in space.write_parts(self._keep)]
        return write_manifest(self._keep, parts)

    def notes(self) -> tuple[str, ...]:
        """A sentence for the report: what the models read, and what they didn't have to."""
        total = sum((space.counts for space in self._spaces.values()), Counter[str]())
        said = f"{total[READ]:,} texts read by models, {total[CACHED]:,} known on this machine"
        if total[DAMAGED]:
            said += f", {total[DAMAGED]:,} damaged there and read anew"
        if self._earlier is None:
            return (said,)
        spaces = {part.space for part in self._earlier.manifest.parts}
        if spaces and not self._spaces.keys() <= spaces:
            why = "a model, how it is run, its code or the kind of processor changed since the earlier run"
            return (f"{said}, {total[REUSED]:,} known from the earlier run: {why}",)
        return (f"{said}, {total[REUSED]:,} known from the earlier run",)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for space in self._spaces.values():
            space.close()


class CachedSpace:
    """Vectors of one space: each text is read once. All of them have one length, which the first one fixes."""

    def __init__(self, space: str, cache: SqliteCache | None, parts: Sequence[CachedPart], spool: Spool | None) -> None:
        self.space = space
        self._cache, self._parts, self._spool = cache, parts, spool
        self.dimensions: int | None = None
        self.counts: Counter[str] = Counter()

    def resolve(self, texts: Sequence[str], compute: Compute) -> list[Vector | NoVector]:
        """One result per text, in order. `compute` is asked about the texts that nothing is known of.

        What it finds is kept as soon as it is there, so that nothing is paid for twice when it fails later.

        Raises:
            ServiceError: vectors of different lengths.
        """
        keys = [short_id(self.space, text) for text in texts]
        results: dict[str, Vector | NoVector] = dict(self._look_up(keys))
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in results}
        waiting = list(new)

        def done(places: Sequence[int], fresh: Sequence[Vector | NoVector]) -> None:
            found = {waiting[place]: result for place, result in zip(places, fresh, strict=True)}
            results.update(found)
            self._store({k: v for k, v in found.items() if isinstance(v, Vector)})

        self.counts[READ] += len(new)
        if new:
            compute(list(new.values()), done)
        return [results[key] for key in keys]

    def _look_up(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Vectors of the earlier run, then of this machine; the latter are kept for the next run."""
        distinct = list(dict.fromkeys(keys))
        found = self._from_parts(distinct)
        self.counts[REUSED] += len(found)
        if self._cache is not None:
            cached = self._cache.get_many(k for k in distinct if k not in found)
            self.counts[CACHED] += len(cached)
            if self._cache.damaged:
                self.counts[DAMAGED] = len(self._cache.damaged)
            self._check(cached)
            if self._spool is not None:
                self._spool.add(cached)
            found.update(cached)
        return found

    def _from_parts(self, keys: list[str]) -> dict[str, Vector]:
        found: dict[str, Vector] = {}
        raw = as_keys(keys)
        for part in self._parts:
            at, there = part.find(raw)
            rows = at[there]
            part.used[rows] = True
            names = (keys[i] for i in np.flatnonzero(there).tolist())
            lines = zip(names, part.take(rows), part.cut[rows].tolist(), strict=True)
            found.update({name: Vector(values, cut) for name, values, cut in lines})
        self._check(found)
        return found

    def _store(self, vectors: Mapping[str, Vector]) -> None:
        """Keep what the model said, unless it isn't a number: that is tried again by the next run."""
        sound = {key: vector for key, vector in vectors.items() if np.isfinite(vector.values).all()}
        self._check(sound)
        if self._cache is not None and sound:
            self._cache.put_many(sound)
        if self._spool is not None:
            self._spool.add(sound)

    def _check(self, vectors: Mapping[str, Vector]) -> None:
        for vector in vectors.values():
            if self.dimensions is None:
                self.dimensions = len(vector.values)
            if len(vector.values) != self.dimensions:
                raise ServiceError(
                    f"vectors of {len(vector.values)} and of {self.dimensions} dimensions from one model",
                    where="embedding",
                    hint="set endpoint.dimensions; if another model now answers under this name, remove the cache"
                    " folder `embeddings` of the state folder, and run once with `reuse: null`",
                )

    def write_parts(self, folder: Path) -> list[tuple[EmbeddingsPart, Path]]:
        """Files of every vector that was asked for."""
        assert self._spool is not None, "nothing is kept"
        return write_parts(folder, self.space, self._parts, self._spool)

    def close(self) -> None:
        """Close the cache, remove the spool."""
        if self._cache is not None:
            self._cache.close()
        if self._spool is not None:
            self._spool.close()
