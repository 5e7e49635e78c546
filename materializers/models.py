"""Model folders and their exports, file by file, each with its SHA-256; never pickle."""

from collections.abc import Iterable, Mapping
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
            _put_files(self, data.info.files, data.path)
        put_main(as_json(data.info), f"{self.uri}/{layout.MODEL}", self.artifact_store)

    def load(self, data_type: type[Any]) -> ModelFolder:
        """Open in place when the store is local, else from a local cache; every file's digest is verified."""
        info = get_value(f"{self.uri}/{layout.MODEL}", self.artifact_store, ModelInfo)
        if not info.files:
            return ModelFolder(info, None)
        return ModelFolder(info, _get_files(self, info.files, "model", info.digest))

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
        _put_files(self, data.manifest.files, data.folder)
        put_main(as_json(data.manifest), f"{self.uri}/{layout.MANIFEST}", self.artifact_store)

    def load(self, data_type: type[Any]) -> ModelExports:
        """Open in place when the store is local, else from a local cache; every file's digest is verified."""
        manifest = get_value(f"{self.uri}/{layout.MANIFEST}", self.artifact_store, ExportsManifest)
        return ModelExports(manifest, _get_files(self, manifest.files, "export", value_digest(manifest.files)))

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


def _put_files(kept_by: BaseMaterializer, files: Iterable[str], folder: Path) -> None:
    for name in files:
        put_file(folder / name, layout.model_file(kept_by.uri, name), kept_by.artifact_store)


def _get_files(kept_by: BaseMaterializer, files: Mapping[str, str], what: str, digest: str) -> Path:
    """The folder of these files (name -> SHA-256): where they lie, or a copy on this machine; each is verified."""
    here = is_local(kept_by.uri)
    folder = Path(kept_by.uri) / "files" if here else state_folder() / "cache" / f"{what}s" / digest
    for name, sha256 in files.items():
        source = get_file(layout.model_file(kept_by.uri, name), kept_by.artifact_store, sha256, f"{what}-files")
        if not here:
            put_file(source, str(folder / name), kept_by.artifact_store)
    return folder


def _refuse_pickle(name: str, folder: Path | None) -> None:
    if Path(name).suffix in PICKLE_SUFFIXES:
        raise UnsafeSerializationError(
            f"{name} may hold a pickle", where=str(folder), hint="save the model as safetensors"
        )
