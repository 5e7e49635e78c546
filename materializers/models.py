"""Model folders and their exports, file by file, each with its SHA-256; never pickle."""

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer

from materializers import layout
from materializers.transfer import as_json, get_file, get_value, is_local, put_file, put_main
from steps.contracts.digests import text_digest, value_digest
from steps.contracts.errors import UnsafeSerializationError
from steps.contracts.exports import ExportsManifest, ModelExports
from steps.contracts.models import PICKLE_SUFFIXES, ModelFolder, ModelInfo
from steps.zenml_runtime.state import state_folder


class ModelFolderMaterializer(BaseMaterializer):
    """`model.json` (ModelInfo) and, unless it is only a reference, `files/**`."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ModelFolder,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.MODEL

    def save(self, data: ModelFolder) -> None:
        """Files first, `model.json` last.

        Raises:
            UnsafeSerializationError: a file is in a format that can hold a pickle.
        """
        for name in data.info.files:
            _refuse_pickle(name, data.path)
            if data.path is not None:
                put_file(data.path / name, layout.model_file(self.uri, name), self.artifact_store)
        put_main(as_json(data.info), f"{self.uri}/{layout.MODEL}", self.artifact_store)

    def load(self, data_type: type[Any]) -> ModelFolder:
        """Open in place when the store is local, else from a local cache; every file's digest is verified."""
        info = get_value(f"{self.uri}/{layout.MODEL}", self.artifact_store, ModelInfo)
        if not info.files:
            return ModelFolder(info, None)
        folder = Path(self.uri) / "files"
        if not is_local(self.uri):
            folder = state_folder() / "cache" / "models" / info.digest
        for name, sha256 in info.files.items():
            source = get_file(layout.model_file(self.uri, name), self.artifact_store, sha256, "model-files")
            if not is_local(self.uri):
                put_file(source, str(folder / name), self.artifact_store)
        return ModelFolder(info, folder)

    def extract_metadata(self, data: ModelFolder) -> dict[str, Any]:
        """What it is and what it was trained on."""
        info = data.info
        return {
            "kind": info.kind,
            "digest": info.digest,
            "base": info.base.name,
            "parameters": info.parameters,
            "trainable": info.trainable,
            "dataset_digest": info.dataset_digest or "",
            "name": info.name,
            "started_from": info.started_from[-1].digest if info.started_from else "",
            layout.SHA256: text_digest(as_json(info)),
        }

    def compute_content_hash(self, data: ModelFolder) -> str:
        """The digest over all files, and the template's settings: they decide what is trained and asked."""
        info = data.info
        return value_digest([info.digest, info.template.model_dump(mode="json")]) if info.template else info.digest


class ModelExportsMaterializer(BaseMaterializer):
    """`manifest.json` (ExportsManifest) and `files/NAME/**`, a folder per export."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ModelExports,)
    ASSOCIATED_ARTIFACT_TYPE = ArtifactType.MODEL

    def save(self, data: ModelExports) -> None:
        """Files first, the manifest last.

        Raises:
            UnsafeSerializationError: a file is in a format that can hold a pickle.
        """
        for name in data.manifest.files:
            _refuse_pickle(name, data.folder)
            put_file(data.folder / name, layout.model_file(self.uri, name), self.artifact_store)
        put_main(as_json(data.manifest), f"{self.uri}/{layout.MANIFEST}", self.artifact_store)

    def load(self, data_type: type[Any]) -> ModelExports:
        """Open in place when the store is local, else from a local cache; every file's digest is verified."""
        manifest = get_value(f"{self.uri}/{layout.MANIFEST}", self.artifact_store, ExportsManifest)
        folder = Path(layout.model_file(self.uri, ""))
        if not is_local(self.uri):
            folder = state_folder() / "cache" / "exports" / value_digest(manifest.files)
        for name, sha256 in manifest.files.items():
            source = get_file(layout.model_file(self.uri, name), self.artifact_store, sha256, "exported-files")
            if not is_local(self.uri):
                put_file(source, str(folder / name), self.artifact_store)
        return ModelExports(manifest, folder)

    def extract_metadata(self, data: ModelExports) -> dict[str, Any]:
        """Which exports there are, and of which model."""
        m = data.manifest
        return {
            "model": m.model, "exports": ", ".join(m.exports), "digest": data.digest,
            layout.SHA256: text_digest(as_json(m)),
        }  # fmt: skip

    def compute_content_hash(self, data: ModelExports) -> str:
        """The digest over all files."""
        return data.digest


def _refuse_pickle(name: str, folder: Path | None) -> None:
    if Path(name).suffix in PICKLE_SUFFIXES:
        raise UnsafeSerializationError(
            f"{name} may hold a pickle", where=str(folder), hint="save the model as safetensors"
        )
