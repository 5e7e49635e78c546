"""What stages keep between runs: a flipped byte in any of its files is refused, and the file named."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pytest
from support.textrows import chat, dataset
from test_transfer import Store

from materializers import layout
from materializers.folders import DedupIndexMaterializer, EmbeddingsMaterializer, RowCacheMaterializer
from steps.contracts.context import StageContext
from steps.contracts.dedup_index import DedupIndex
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.errors import IntegrityError
from steps.contracts.row_cache import CachedRows, Origin, RowCache, row_keys
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
from steps.engines.embed.cached import Spool, write_manifest, write_parts
from steps.engines.embed.vectors import Vector


def row_cache(folder: Path) -> RowCache:
    cached = CachedRows(Origin(stage="scrub", config="c"), None)
    cached.keep(row_keys(pa.table({"content_id": [f"{i:032x}" for i in range(50)]})), {1: "a", 7: "b"})
    return cached.close(folder)


def embeddings(folder: Path) -> CachedEmbeddings:
    spool = Spool(folder / "spool")
    spool.add({f"{i:032x}": Vector(np.full(4, i, np.float32), False) for i in range(20)})
    return write_manifest(folder, write_parts(folder, "space", [], spool))


def dedup_index(folder: Path) -> DedupIndex:
    rows = dataset([chat(f"What is {i}?", f"{i} apples and {i * i} pears.") for i in range(20)], folder / "in")
    index = dedup(rows, DedupConfig(), StageContext(folder / "out", keep=True)).artifacts["dedup_index"]
    assert isinstance(index, DedupIndex)
    return index


KINDS = {
    "row cache": (row_cache, RowCacheMaterializer),
    "embeddings": (embeddings, EmbeddingsMaterializer),
    "dedup index": (dedup_index, DedupIndexMaterializer),
}


def flips(whole: bytes) -> Iterator[bytes]:
    """The content with one bit turned: at its beginning, in the middle, at its end."""
    for place in sorted({0, len(whole) // 2, len(whole) - 1}):
        yield whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def refused(file: str, load: Callable[[], Any]) -> None:
    with pytest.raises(IntegrityError) as found:
        load()
    # A changed checksum speaks of the file that it lies beside.
    assert found.value.where == (layout.beside(file, layout.MANIFEST) if file.endswith(layout.CHECKSUM) else file)


def files_of(kept: Any, uri: str, store: str) -> list[str]:
    """URIs of all files that a stored artifact is read from."""
    own = {RowCache: lambda: list(kept.manifest.files), CachedEmbeddings: lambda: [p.name for p in kept.manifest.parts]}
    names = [layout.MANIFEST, layout.CHECKSUM, *own.get(type(kept), list)()]
    parts = kept.manifest.parts if isinstance(kept, DedupIndex) else ()
    shared = [layout.dedup_part(store, part.name, name) for part in parts for name in part.files]
    return [*(f"{uri}/{name}" for name in names), *shared]


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_byte_is_met_by_a_run_that_builds_on_another(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is a folder; the artifact is loaded by ZenML, as a step asks for what an earlier run kept."""
    from zenml import save_artifact
    from zenml.client import Client

    from steps.zenml_runtime import context

    make, materializer = KINDS[kind]
    kept = make(tmp_path / "made")
    version = save_artifact(kept, f"flipped {kind}", materializer=materializer)
    monkeypatch.setattr(context, "get_step_context", MagicMock())
    monkeypatch.setattr(context, "_noted", lambda run: {context.REUSE: {"kept": str(version.id)}})
    assert type(context.earlier("kept")) is type(kept)
    files = files_of(kept, version.uri, Client().active_stack.artifact_store.path)
    assert len(files) > 2
    for file in files:
        whole = Path(file).read_bytes()
        for damaged in flips(whole):
            Path(file).unlink()  # it may be a link to what was made
            Path(file).write_bytes(damaged)
            refused(file, lambda: context.earlier("kept"))
        Path(file).write_bytes(whole)
    assert type(context.earlier("kept")) is type(kept)


class RemoteStore(Store):
    path = "memory://flipped"


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_byte_is_refused_where_the_store_is_elsewhere(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, materializer = KINDS[kind]
    kept, store, uri = make(tmp_path / "made"), RemoteStore(), f"memory://flipped/{kind}"
    stored = materializer(uri, store)
    stored.save(kept)
    for number, file in enumerate(files_of(kept, uri, store.path)):
        whole = store.memory.cat(file)
        for place, damaged in enumerate(flips(whole)):
            # Nothing was fetched before.
            monkeypatch.setenv("ASSAY_STATE", str(tmp_path / f"{number}-{place}"))
            store.memory.pipe(file, damaged)
            refused(file, lambda: stored.load(type(kept)))
        store.memory.pipe(file, whole)
    assert type(stored.load(type(kept))) is type(kept)
