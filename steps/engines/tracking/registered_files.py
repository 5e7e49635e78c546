"""The files behind a version of MLflow's registry, by name, before any of them is fetched."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steps.contracts.errors import InputNotFoundError
from steps.engines.tracking.secrets import without_secret
from steps.engines.tracking.service import PROBE, WORK, environment, service


class RegisteredFiles:
    """Those of one version. Nothing of them is run, and nothing unpickled: they are copied."""

    def __init__(self, uri: str, name: str, version: str) -> None:
        self.uri, self.name, self.version = uri, name, version

    @property
    def place(self) -> str:
        """What it is called."""
        return f"models:/{self.name}/{self.version}"

    def names(self) -> list[str]:
        """Paths of all files, relative to the version's folder, ascending.

        Raises:
            InputNotFoundError: there are none. ServiceError: MLflow or its artifact store can't be reached.
        """
        with service(without_secret(self.uri)), environment(PROBE):
            found = sorted(_walk(self._store(), None))
        if not found:
            raise InputNotFoundError(
                f"{self.place} has no files", where=without_secret(self.uri),
                hint="its artifacts were removed, or lie where this machine can't look",
            )  # fmt: skip
        return found

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Copy files into a folder, under their paths.

        Raises:
            InputNotFoundError: one isn't there. ServiceError: MLflow or its artifact store can't be reached.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with service(without_secret(self.uri)), environment(WORK):
            store = self._store()
            for name in names:
                try:
                    store.download_artifacts(name, dst_path=str(folder))
                except OSError as e:
                    raise InputNotFoundError(f"{self.place} has no file {name}", where=without_secret(self.uri)) from e

    def _store(self) -> Any:
        from mlflow import MlflowClient
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        client = MlflowClient(self.uri, registry_uri=self.uri)
        where = client.get_model_version_download_uri(self.name, self.version)
        return get_artifact_repository(where, tracking_uri=self.uri, registry_uri=self.uri)


def _walk(store: Any, folder: str | None) -> list[str]:
    found: list[str] = []
    for entry in store.list_artifacts(folder):
        found += _walk(store, entry.path) if entry.is_dir else [entry.path]
    return found
