"""Dataset versions: manifest and selection in the artifact's folder, shards once per store under `shards/`."""

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from materializers import layout, views
from materializers.transfer import as_json, get_file, get_main, is_local, parsed, put_file, put_main, put_once, put_text
from steps.contracts.dataset import Dataset, Manifest
from steps.contracts.digests import text_digest
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import state_folder


class DatasetMaterializer(BaseMaterializer):
    """Writes only shards that the store doesn't have whole; verifies every shard's SHA-256 on load."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Dataset,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.DATA

    def save(self, data: Dataset) -> None:
        """Shards first, the manifest last: an interrupted save leaves nothing that reads as a dataset."""
        for entry, path in zip(data.manifest.shards, data.shard_paths, strict=True):
            put_once(path, entry.sha256, self._shard_uri(entry.sha256), self.artifact_store)
        if data.manifest.selection:
            put_file(data.folder / layout.SELECTION, f"{self.uri}/{layout.SELECTION}", self.artifact_store)
        put_main(as_json(data.manifest), f"{self.uri}/{layout.MANIFEST}", self.artifact_store)

    def load(self, data_type: type[Any]) -> Dataset:
        """Open in place when the store is local, else from a local cache.

        Raises:
            IntegrityError: a shard or the selection isn't what the manifest names.
        """
        uri = f"{self.uri}/{layout.MANIFEST}"
        text = get_main(uri, self.artifact_store)
        manifest = parsed(text, Manifest, uri)
        paths = {s.sha256: self._shard(s.sha256) for s in manifest.shards}
        return Dataset.open(self._folder(text, manifest), paths.__getitem__)

    def _shard_uri(self, sha256: str) -> str:
        return layout.shard(self.artifact_store.path, sha256)

    def _shard(self, sha256: str) -> Path:
        return get_file(self._shard_uri(sha256), self.artifact_store, sha256, "shards")

    def _folder(self, text: str, manifest: Manifest) -> Path:
        if is_local(self.uri):
            return Path(self.uri)
        folder = state_folder() / "cache" / "datasets" / text_digest(text)
        if manifest.selection:
            selection = f"{self.uri}/{layout.SELECTION}"
            source = get_file(selection, self.artifact_store, manifest.selection, "selections")
            put_file(source, str(folder / layout.SELECTION), self.artifact_store)
        write_whole(folder / layout.MANIFEST, text)
        return folder

    def extract_metadata(self, data: Dataset) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        m = data.manifest
        about = {"rows": m.rows, "digest": m.digest, "parent": m.parent or "", "splits": m.splits, "kinds": m.kinds}
        return {**about, layout.SHA256: text_digest(as_json(m))}

    def compute_content_hash(self, data: Dataset) -> str:
        """Digest of the manifest, so that an equal re-run keeps what follows in the cache."""
        return text_digest(data.manifest.model_dump_json())

    def save_visualizations(self, data: Dataset) -> dict[str, VisualizationType]:
        """The manifest as a page; no row of the dataset is shown."""
        uri = f"{self.uri}/{layout.VIEW}"
        put_text(views.as_html(data.manifest), uri, self.artifact_store)
        return {uri: VisualizationType.HTML}
