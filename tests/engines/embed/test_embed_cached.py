"""Kept vectors over many runs against a dict, and what is damaged is never read."""

import json
import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from steps.contracts.digests import file_digest, short_id
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError
from steps.engines.embed.cache import DAMAGED, REUSED, Compute, EmbeddingCache
from steps.engines.embed.vectors import Done, Vector


def said(text: str, dimensions: int) -> Vector:
    """A vector, whole numbers in it, that is a function of the text."""
    seed = int.from_bytes(text.encode()[:8].ljust(8, b"\0"), "little")
    return Vector(np.random.default_rng(seed).normal(size=dimensions).astype(np.float32), cut=seed % 3 == 0)


def model(dimensions: int, asked: list[str]) -> Compute:
    """Computes, and notes what it was asked."""

    def compute(texts: Sequence[str], done: Done) -> None:
        asked.extend(texts)
        for i in reversed(range(len(texts))):
            done([i], [said(texts[i], dimensions)])

    return compute


def one_run(
    folder: Path, spaces: dict[str, tuple[int, list[str]]], earlier: CachedEmbeddings | None
) -> CachedEmbeddings:
    """Look up each space's texts in pieces, check every vector's bits, and that only unknown texts are computed."""
    with EmbeddingCache(earlier=earlier, keep=folder) as cache:
        for space, (dimensions, texts) in spaces.items():
            known, asked = cache.open("x.sqlite", space), []
            for start in range(0, len(texts), 50):
                piece = texts[start : start + 50]
                for text, found in zip(piece, known.resolve(piece, model(dimensions, asked)), strict=True):
                    right = said(text, dimensions)
                    assert isinstance(found, Vector) and found.cut == right.cut
                    assert (found.values == right.values).all()
            assert known.counts[REUSED] + len(asked) == len(texts)
        return cache.write()


@pytest.mark.parametrize("seed", range(5))
def test_many_runs_keep_what_each_asked_for_and_nothing_else(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    earlier: CachedEmbeddings | None = None
    texts: dict[str, list[str]] = {"one": [], "other": []}
    for run in range(8):
        for space, mine in texts.items():
            gone = rng.random(len(mine)) < (0.3 if run % 4 == 3 else 0)
            stay = [t for t, g in zip(mine, gone.tolist(), strict=True) if not g]
            texts[space] = [*stay, *(f"{space}{run}.{i}" for i in range(rng.integers(0, 200)))]
            rng.shuffle(texts[space])
        spaces = {"one": (5, texts["one"]), "other": (16, texts["other"])}
        earlier = one_run(tmp_path / str(run), spaces, earlier)
        rows = {s: sum(p.rows for p in earlier.manifest.parts if p.space == s) for s in spaces}
        assert rows == {s: len(mine) for s, mine in texts.items()}
        assert not list((tmp_path / str(run)).glob("*.spool")) and not list((tmp_path / str(run)).glob("*.partial"))
        earlier = CachedEmbeddings.open(tmp_path / str(run)) if run % 2 else earlier


def test_files_are_few_however_many_runs_there_are(tmp_path: Path) -> None:
    earlier: CachedEmbeddings | None = None
    texts: list[str] = []
    for run in range(40):
        texts = [*texts, *(f"{run}.{i}" for i in range(10))]
        earlier = one_run(tmp_path / str(run), {"s": (4, texts)}, earlier)
        assert len(earlier.files) <= 1 + math.log2(run + 1)


def test_many_vectors_in_one_file_are_found_one_by_one(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(20_000)]
    with EmbeddingCache(keep=tmp_path / "a") as cache:
        known = cache.open("x.sqlite", "s")
        table = np.random.default_rng(0).normal(size=(len(texts), 3)).astype(np.float32)
        known.resolve(texts, lambda new, done: done(range(len(new)), [Vector(v) for v in table]))
        kept = cache.write()
    assert len(kept.files) == 1 and pa.ipc.open_file(kept.files[0]).num_record_batches == 3
    with EmbeddingCache(earlier=CachedEmbeddings.open(tmp_path / "a")) as cache:
        order = np.random.default_rng(1).permutation(len(texts))
        found = cache.open("x.sqlite", "s").resolve([texts[i] for i in order], lambda *_: pytest.fail("computed"))
    assert (np.stack([v.values for v in found]) == table[order]).all()


def rewrite(folder: Path, **changes: object) -> None:
    """Change the first part's entry in the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["parts"][0] |= changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


def damage(how: str, folder: Path) -> None:
    file = next(folder.glob("*.arrow"))
    if how == "missing":
        file.unlink()
    elif how == "half":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "bit":
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(bytes(raw))
    elif how == "no manifest":
        (folder / "manifest.json").unlink()
    elif how == "half a manifest":
        (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:-20])
    elif how == "elsewhere":
        rewrite(folder, name="../../../etc/passwd")
    elif how == "rows":
        rewrite(folder, rows=7)
    elif how == "dimensions":
        rewrite(folder, dimensions=5)
    elif how == "no arrow":
        file.write_bytes(b"no arrow at all")
        rewrite(folder, sha256=file_digest(file))
    elif how == "unsorted":
        table = pa.ipc.open_file(pa.memory_map(str(file))).read_all().take(pa.array(range(29, -1, -1)))
        schema, batch = table.schema, table.combine_chunks().to_batches()[0]
        with pa.ipc.new_file(file.with_suffix(".new"), schema) as out:
            out.write_batch(batch)
        file.with_suffix(".new").replace(file)
        rewrite(folder, sha256=file_digest(file))


@pytest.mark.parametrize(
    "how",
    ["missing", "half", "bit", "no manifest", "half a manifest", "elsewhere", "rows", "dimensions", "no arrow",
     "unsorted"],
)  # fmt: skip
def test_what_is_damaged_ends_the_run_with_the_way_out(tmp_path: Path, how: str) -> None:
    texts = [f"text {i}" for i in range(30)]
    one_run(tmp_path / "kept", {"s": (4, texts)}, None)
    one_run(tmp_path / "again", {"s": (4, texts)}, CachedEmbeddings.open(tmp_path / "kept"))
    damage(how, tmp_path / "kept")
    with pytest.raises((InputNotFoundError, IntegrityError)) as caught:
        one_run(tmp_path / "third", {"s": (4, texts)}, CachedEmbeddings.open(tmp_path / "kept"))
    assert "reuse: null" in (caught.value.hint or "")


def test_a_run_that_dies_leaves_nothing_that_reads_as_kept(tmp_path: Path) -> None:
    def dies(texts: Sequence[str], done: Done) -> None:
        done([0], [said(texts[0], 4)])
        raise ServiceError("away")

    with pytest.raises(ServiceError), EmbeddingCache(tmp_path / "cache", keep=tmp_path / "kept") as cache:
        cache.open("x.sqlite", "s").resolve(["a", "b"], dies)
    with pytest.raises(InputNotFoundError):
        CachedEmbeddings.open(tmp_path / "kept")
    asked: list[str] = []
    with EmbeddingCache(tmp_path / "cache") as cache:
        cache.open("x.sqlite", "s").resolve(["a", "b"], model(4, asked))
    assert asked == ["b"]


def test_what_is_no_number_is_not_kept(tmp_path: Path) -> None:
    nan = Vector(np.full(3, np.nan, np.float32))
    with EmbeddingCache(tmp_path / "cache", keep=tmp_path / "kept") as cache:
        cache.open("x.sqlite", "s").resolve(["a", "b"], lambda _, done: done([1, 0], [nan, "server_error"]))
        assert cache.write().rows == 0
    asked: list[str] = []
    with EmbeddingCache(tmp_path / "cache") as cache:
        cache.open("x.sqlite", "s").resolve(["a", "b"], model(3, asked))
    assert asked == ["a", "b"]


def flip(file: Path, values: Vector, to: float) -> None:
    """Change the last number of a vector on disk."""
    raw = values.values.astype("<f4").tobytes()
    assert file.read_bytes().count(raw) == 1
    file.write_bytes(file.read_bytes().replace(raw, raw[:-4] + np.float32(to).tobytes()))


def test_a_flipped_byte_is_no_vector_and_its_text_is_read_anew(tmp_path: Path) -> None:
    texts, asked = [f"text {i}" for i in range(5)], list[str]()
    with EmbeddingCache(tmp_path) as cache:
        cache.open("x.sqlite", "s").resolve(texts, model(4, asked))
    flip(tmp_path / "x.sqlite", said("text 3", 4), 0.5)
    asked.clear()
    for damaged in (1, 0):
        with EmbeddingCache(tmp_path) as cache:
            known = cache.open("x.sqlite", "s")
            found = known.resolve(texts, model(4, asked))
            assert isinstance(found[3], Vector) and (found[3].values == said("text 3", 4).values).all()
            assert known.counts[DAMAGED] == damaged and ("1 damaged there" in cache.notes()[0]) == bool(damaged)
    assert asked == ["text 3"]


def test_vectors_of_files_without_sums_are_vectors(tmp_path: Path) -> None:
    with EmbeddingCache(tmp_path) as cache:
        cache.open("x.sqlite", "s").resolve(["text"], model(4, []))
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as db:
        db.execute("DROP TABLE sums")
    with EmbeddingCache(tmp_path) as cache:
        known = cache.open("x.sqlite", "s")
        known.resolve(["text"], lambda *_: pytest.fail("computed"))
        # Another machine's vector of a text that is there: neither it nor its sum.
        other = [next(iter(known._cache.get_many([short_id("s", "text")]))), 0, "AAAAAAAAAAAAAAAAAAAAAA=="]
        known._cache._merge([json.dumps(other).encode()])
        known.resolve(["text"], lambda *_: pytest.fail("computed"))
