"""Writes and reads the parts of a kept index."""

import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers
from steps.contracts.dedup_index import DedupIndex, IndexManifest, PartEntry
from steps.contracts.digests import file_digest, short_id, value_digest
from steps.contracts.errors import ConfigError
from steps.contracts.storage import write_whole, writing
from steps.dedup.config import DedupConfig
from steps.dedup.fingerprints import Digests, Ids
from steps.engines.minhash.signatures import Sets

# What decides which rows look alike. The backend doesn't: all give the same signatures.
_NEUTRAL = {"backend"}


@dataclass(frozen=True)
class IndexPart:
    """Rows of one run, n of them, k of which were kept, with s new token streams; every field is one file.

    Row numbers count over all parts, oldest first. words: as in Sketches; the other fields up to symbolic: as in
    Fingerprints. keep, near: shape (n,); witness: row number, -1 for none; score: nan for none.
    streams: first half of each new stream's digest, ascending, shape (s,); stream_rows: a row of each.
    kept: row numbers of the kept rows in canonical order, shape (k,). bands: their band hashes, each band ascending,
    shape (bands, k); owners: place in `kept` of each. sets: their shingle sets; set_ends: where each ends, and leads,
    as of Sketches: shape (k,).
    """

    record_ids: Ids
    content_ids: Ids
    batches: Numbers
    words: Digests
    asked: Digests
    answered: Digests
    claims: npt.NDArray[np.bool_]
    prompt: npt.NDArray[np.uint64]
    plain: npt.NDArray[np.uint64]
    signs: npt.NDArray[np.uint64]
    symbolic: npt.NDArray[np.bool_]
    keep: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]
    witness: Numbers
    score: npt.NDArray[np.float64]
    streams: npt.NDArray[np.uint64]
    stream_rows: Numbers
    kept: Numbers
    bands: npt.NDArray[np.uint32]
    owners: npt.NDArray[np.int32]
    sets: Sets
    set_ends: Numbers
    leads: npt.NDArray[np.int32]


def settings_digest(config: DedupConfig) -> str:
    """Equal for settings that give the same decisions."""
    return value_digest(config.model_dump(mode="json", exclude=_NEUTRAL))


def check_settings(index: DedupIndex, config: DedupConfig, code: str) -> None:
    """Refuse an index made under other settings or by other code.

    Raises:
        ConfigError: settings or code differ.
    """
    if index.manifest.code != code:
        raise ConfigError(
            "the kept index was made by another version of the code or of a library",
            where="dedup",
            hint="run once without reuse to make a new index",
        )
    if index.manifest.settings != settings_digest(config):
        raise ConfigError(
            "the kept index was made under other dedup settings, so that its decisions aren't those of this run",
            where="dedup",
            hint="restore the settings of the earlier run, or run once without reuse to make a new index",
        )


def read_part(folder: Path) -> IndexPart:
    """The part's arrays, mapped from their files."""
    return IndexPart(*(np.load(folder / f"{f.name}.npy", mmap_mode="r", allow_pickle=False) for f in fields(IndexPart)))


def write_part(part: IndexPart, parts: Path) -> PartEntry:
    """Store a part below `parts`, under a name made of its files' digests."""
    partial = parts / "part.partial"
    with writing(parts):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for f in fields(IndexPart):
            np.save(partial / f"{f.name}.npy", getattr(part, f.name), allow_pickle=False)
        files = {p.name: (p.stat().st_size, file_digest(p)) for p in sorted(partial.iterdir())}
        name = short_id(*(f"{n}:{sha}" for n, (_, sha) in files.items()))
        shutil.rmtree(parts / name, ignore_errors=True)
        partial.replace(parts / name)
    return PartEntry(name=name, rows=len(part.record_ids), files=files)


def write_index(folder: Path, manifest: IndexManifest, older: dict[str, Path]) -> DedupIndex:
    """Name an index whose new part lies in folder/parts; `older` says where the shared ones lie."""
    write_whole(folder / "manifest.json", manifest.model_dump_json(indent=1))
    return DedupIndex.open(folder, lambda name: older.get(name, folder / "parts" / name))


def merged(older: IndexPart, newer: IndexPart) -> IndexPart:
    """Two parts that follow each other as one; row numbers stay as they are."""
    k = len(older.kept)
    joined = {
        f.name: np.concatenate([getattr(older, f.name), getattr(newer, f.name)])
        for f in fields(IndexPart)
        if f.name not in ("bands", "owners", "set_ends")
    }
    streams = np.argsort(joined["streams"], kind="stable")
    bands = np.concatenate([older.bands, newer.bands], axis=1)
    by_hash = np.argsort(bands, axis=1, kind="stable")
    owners = np.concatenate([older.owners, newer.owners + np.int32(k)], axis=1)
    return IndexPart(
        **{**joined, "streams": joined["streams"][streams], "stream_rows": joined["stream_rows"][streams]},
        bands=np.take_along_axis(bands, by_hash, axis=1),
        owners=np.take_along_axis(owners, by_hash, axis=1),
        set_ends=np.concatenate([older.set_ends, newer.set_ends + len(older.sets)]),
    )
