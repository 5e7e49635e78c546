"""A registered version as MLflow has it now: its tags, and the bytes of what it serves."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import yaml

from steps.contracts.digests import file_digest, folder_digests
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.evaluation import Registration
from steps.engines.tracking.database import database_file
from steps.engines.tracking.secrets import without_secret
from steps.engines.tracking.service import PROBE, environment, service

# Tag of a version: SHA-256, as JSON, of the files of its MLflow run (run/...) and of its model (model/...) that are not
# weights; those have theirs in ModelInfo.
FILES = "files"
_WEIGHTS = "artifacts/files"
_QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
# Chosen: versions that are asked for at once.
_PAGE = 1000
_MISSING, _INVALID = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"


@dataclass(frozen=True)
class Registered:
    """What MLflow has.

    Attributes:
        files: SHA-256 by path, as in the tag FILES, and of the weights.
        weights: the folder among these with the files of ModelInfo.
    """

    tags: Mapping[str, str]
    files: Mapping[str, str]
    weights: str


def model_digests(source: str) -> dict[str, str]:
    """SHA-256 by path of the files of the logged model models:/ID that are no weights."""
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts, list_artifacts

    location = MlflowClient().get_logged_model(source.rsplit("/", 1)[-1]).artifact_location
    digests = {}
    with environment(_QUIET):
        for place in ("", "/artifacts", "/artifacts/cards"):
            for found in list_artifacts(location + place):
                file = f"{place}/{PurePosixPath(found.path).name}"
                with TemporaryDirectory() as scratch:
                    if not found.is_dir:
                        digests[file[1:]] = file_digest(Path(download_artifacts(location + file, dst_path=scratch)))
    return digests


@dataclass(frozen=True)
class Version:
    """A version of a registered model, and its tags."""

    version: str
    tags: Mapping[str, str]


def find_version(registry: str, name: str, version: str | None, alias: str | None) -> Version:
    """The version of that number or alias; without either the newest.

    Raises:
        InputNotFoundError: the registry has none. ServiceError: it can't be reached. IntegrityError: its database is
            damaged.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = with_secret(registry)
    with _registry(uri):
        client = MlflowClient(uri, registry_uri=uri)
        try:
            if alias is not None:
                found = client.get_model_version_by_alias(name, alias)
            elif version is not None:
                found = client.get_model_version(name, version)
            else:
                quoted = name.replace("'", "")
                found = max(
                    client.search_model_versions(f"name='{quoted}'"), key=lambda v: int(v.version), default=None
                )
        except MlflowException as e:
            if e.error_code not in (_MISSING, _INVALID):
                raise
            found = None
    if found is None:
        wanted = f"{name}@{alias}" if alias else f"{name}/{version}" if version else name
        raise InputNotFoundError(f"the registry has no {wanted}", where=without_secret(registry))
    return Version(str(found.version), dict(found.tags))


def all_versions(registry: str) -> list[tuple[str, Version]]:
    """Every version of every model of a registry, with its model's name.

    Raises:
        ServiceError: it can't be reached. IntegrityError: its database is gone or damaged.
    """
    from mlflow import MlflowClient

    uri = with_secret(registry)
    found, token = [], None
    with _registry(uri):
        client = MlflowClient(uri, registry_uri=uri)
        while True:
            page = client.search_model_versions(max_results=_PAGE, page_token=token)
            found += [(str(v.name), Version(str(v.version), dict(v.tags))) for v in page]
            if not (token := page.token):
                return found


@contextmanager
def _registry(uri: str) -> Iterator[None]:
    """Its errors as ours; MLflow would make a database where there is none.

    Raises:
        ServiceError, IntegrityError.
    """
    from sqlalchemy.exc import SQLAlchemyError

    file = database_file(uri)
    if file is not None and not (file.is_file() and file.stat().st_size):
        raise IntegrityError("the registry's database is gone", where=str(file))
    with service(uri), environment(PROBE | _QUIET):
        try:
            yield
        except SQLAlchemyError as e:
            raise IntegrityError(f"the registry's database is damaged: {type(e).__name__}", where=str(file)) from e


def read_registered(registration: Registration) -> Registered | None:
    """Read every file of the registered version where MLflow keeps it; None: the registry has no such version.

    Raises:
        ServiceError: the registry or its artifact store can't be reached. IntegrityError: its database is damaged.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = with_secret(registration.tracking_uri)
    with _registry(uri):
        try:
            client = MlflowClient(uri, registry_uri=uri)
            version = client.get_model_version(registration.name, registration.version)
            source = client.get_model_version_download_uri(registration.name, registration.version)
            run = client.get_run(version.run_id).info.artifact_uri
        except MlflowException as e:
            if e.error_code == _MISSING:
                return None
            raise
        model, documents = _digests(uri, source, "model"), _digests(uri, run, "run")
    return Registered(dict(version.tags), model[0] | documents[0], f"model/{model[1]}")


def _digests(uri: str, location: str, place: str) -> tuple[dict[str, str], str]:
    """SHA-256 by path of a folder of MLflow's, none when it is gone; and, of a model, where its weights lie."""
    import mlflow
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as scratch:
        local = location.startswith("file:") or "://" not in location
        try:
            found = mlflow.artifacts.download_artifacts(location, dst_path=None if local else scratch, tracking_uri=uri)
        except (MlflowException, OSError) as e:
            if local or getattr(e, "error_code", "") == _MISSING:
                return {}, _WEIGHTS
            raise
        digests = {f"{place}/{name}": sha256 for name, sha256 in folder_digests(Path(found)).items()}
        return digests, _weights_in(Path(found) / "MLmodel")


def _weights_in(file: Path) -> str:
    """Where MLmodel says that the weights lie; the usual place where it doesn't."""
    try:
        return str(yaml.safe_load(file.read_bytes())["flavors"]["python_function"]["artifacts"]["model"]["path"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        return _WEIGHTS


def with_secret(uri: str) -> str:
    """The tracking URI, with user and password where MLFLOW_TRACKING_URI has them for the same place."""
    own = os.environ.get("MLFLOW_TRACKING_URI", "")
    return own if without_secret(own) == uri else uri
