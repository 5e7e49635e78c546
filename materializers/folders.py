"""Artifacts that are a folder of files named by a manifest: what stages keep between runs."""

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer

from materializers import layout
from materializers.transfer import as_json, get_file, get_main, is_local, parsed, put_file, put_main, put_once
from steps.contracts.dedup_index import DedupIndex, IndexManifest, PartEntry
from steps.contracts.digests import text_digest, value_digest
from steps.contracts.embeddings import CachedEmbeddings, EmbeddingsPart
from steps.contracts.row_cache import RowCache, RowCacheManifest
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import state_folder


class RowCacheMaterializer(BaseMaterializer):
    """`manifest.json` and the files that it names by SHA-256; they are checked when the row cache is opened."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (RowCache,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA

    def save(self, data: RowCache) -> None:
        """Files first, the manifest last: an interrupted save leaves nothing that reads as a row cache."""
        for name in data.manifest.files:
            put_file(data.folder / name, f"{self.uri}/{name}", self.artifact_store)
        put_main(_manifest_of(data), f"{self.uri}/{layout.MANIFEST}", self.artifact_store)

    def load(self, data_type: type[Any]) -> RowCache:
        """Open in place when the store is local, else from a local cache."""
        uri = f"{self.uri}/{layout.MANIFEST}"
        text = get_main(uri, self.artifact_store)
        if is_local(self.uri):
            return RowCache.open(Path(self.uri))
        folder = state_folder() / "cache" / "row-caches" / text_digest(text)
        for name, sha256 in parsed(text, RowCacheManifest, uri).files.items():
            found = get_file(f"{self.uri}/{name}", self.artifact_store, sha256, "row-cache-files")
            put_file(found, str(folder / name), self.artifact_store)
        write_whole(folder / layout.MANIFEST, text)
        return RowCache.open(folder)

    def extract_metadata(self, data: RowCache) -> dict[str, Any]:
        """Rows, and what their results depend on."""
        origin = data.manifest.origin.model_dump()
        sha256 = text_digest(_manifest_of(data))
        return {"rows": data.manifest.rows, "digest": data.digest, **origin, layout.SHA256: sha256}

    def compute_content_hash(self, data: RowCache) -> str:
        """Digest of origin and results."""
        return data.digest


class EmbeddingsMaterializer(BaseMaterializer):
    """`manifest.json` and the files that it names; files that versions share are links where the store is local."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (CachedEmbeddings,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA

    def save(self, data: CachedEmbeddings) -> None:
        """Files first, the manifest last: an interrupted save leaves nothing that reads as cached embeddings."""
        for part, file in zip(data.manifest.parts, data.files, strict=True):
            put_file(file, f"{self.uri}/{part.name}", self.artifact_store)
        put_main(as_json(data.manifest), f"{self.uri}/{layout.MANIFEST}", self.artifact_store)

    def load(self, data_type: type[Any]) -> CachedEmbeddings:
        """Open in place when the store is local, else from a local cache."""
        where = f"{self.uri}/{layout.MANIFEST}"
        text = get_main(where, self.artifact_store)
        if is_local(self.uri):
            return CachedEmbeddings.open(Path(self.uri))
        return CachedEmbeddings.read(text, where, self._fetched)

    def _fetched(self, part: EmbeddingsPart) -> Path:
        return get_file(f"{self.uri}/{part.name}", self.artifact_store, part.sha256, "vector-files")

    def extract_metadata(self, data: CachedEmbeddings) -> dict[str, Any]:
        """Vectors and files."""
        sha256 = text_digest(as_json(data.manifest))
        return {"embeddings": data.rows, "files": len(data.files), "digest": data.digest, layout.SHA256: sha256}

    def compute_content_hash(self, data: CachedEmbeddings) -> str:
        """Digest of the manifest, which names every file by its content."""
        return data.digest


class DedupIndexMaterializer(BaseMaterializer):
    """The manifest in the artifact's folder; parts once per store under `dedup_parts/`, since indexes share them."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (DedupIndex,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA

    def save(self, data: DedupIndex) -> None:
        """Parts that the store doesn't have whole, then the manifest."""
        for entry, folder in zip(data.manifest.parts, data.parts, strict=True):
            for name, (_, sha256) in entry.files.items():
                put_once(folder / name, sha256, self._uri(entry, name), self.artifact_store)
        put_main(as_json(data.manifest), f"{self.uri}/{layout.MANIFEST}", self.artifact_store)

    def load(self, data_type: type[Any]) -> DedupIndex:
        """Open in place when the store is local, else from a local cache; every file's digest is verified."""
        uri = f"{self.uri}/{layout.MANIFEST}"
        text = get_main(uri, self.artifact_store)
        manifest = parsed(text, IndexManifest, uri)
        parts = {entry.name: self._part(entry) for entry in manifest.parts}
        folder = Path(self.uri)
        if not is_local(self.uri):
            folder = state_folder() / "cache" / "dedup-indexes" / text_digest(text)
            write_whole(folder / layout.MANIFEST, text)
        return DedupIndex.open(folder, parts.__getitem__)

    def _part(self, entry: PartEntry) -> Path:
        folder = state_folder() / "cache" / "dedup-parts" / entry.name
        for name, (_, sha256) in entry.files.items():
            found = get_file(self._uri(entry, name), self.artifact_store, sha256, "dedup-files")
            if not is_local(self.uri):
                put_file(found, str(folder / name), self.artifact_store)
        return Path(self._uri(entry, "")) if is_local(self.uri) else folder

    def _uri(self, entry: PartEntry, name: str) -> str:
        return layout.dedup_part(self.artifact_store.path, entry.name, name)

    def extract_metadata(self, data: DedupIndex) -> dict[str, Any]:
        """Rows and parts."""
        m = data.manifest
        sha256 = text_digest(as_json(m))
        return {"rows": m.rows, "parts": len(m.parts), "settings": m.settings, layout.SHA256: sha256}

    def compute_content_hash(self, data: DedupIndex) -> str:
        """Digest of the manifest, which names every part by its content."""
        return value_digest(data.manifest.model_dump(mode="json"))


def _manifest_of(data: RowCache) -> str:
    return (data.folder / layout.MANIFEST).read_text(encoding="utf-8")
