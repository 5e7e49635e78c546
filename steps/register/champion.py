"""The version that is champion now, or any other that is named, as the registry has it."""

from collections.abc import Mapping
from dataclasses import dataclass

from steps.contracts.errors import IntegrityError
from steps.engines.tracking.database import database_file
from steps.engines.tracking.secrets import without_secret
from steps.engines.tracking.service import PROBE, environment, service
from steps.register import versions


@dataclass(frozen=True)
class Champion:
    """A registered version. `tags`: of it; `source`: where it was registered from; `made`: when, in ms since 1970."""

    version: str
    tags: Mapping[str, str]
    source: str = ""
    made: int = 0

    @property
    def is_ours(self) -> bool:
        """Whether a run of this pipeline registered it."""
        return "weights_digest" in self.tags

    @property
    def weights(self) -> str:
        """Digest of its weights.

        Raises:
            IntegrityError: it was registered by something else, or the tag was removed.
        """
        if found := self.tags.get("weights_digest"):
            return found
        raise IntegrityError(f"version {self.version} has no tag weights_digest", where="registry")


def present_champion(uri: str, model: str) -> Champion | None:
    """None where there is no champion yet, no such model, or no registry.

    Raises:
        ServiceError: the registry can't be reached.
    """
    return registered_version(uri, model, alias=versions.CHAMPION)


def registered_version(
    uri: str, model: str, *, alias: str | None = None, version: str | None = None
) -> Champion | None:
    """The version that has this alias, or this number; None where there is none, no such model, or no registry.

    Raises:
        ServiceError: the registry can't be reached.
    """
    file = database_file(uri)
    # MLflow would make a database where there is none.
    if file is not None and not file.is_file():
        return None
    with service(without_secret(uri)), environment(PROBE):
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            client = MlflowClient(uri, registry_uri=uri)
            if version is not None:
                found = client.get_model_version(model, version)
            else:
                found = client.get_model_version_by_alias(model, alias or versions.CHAMPION)
        except MlflowException as e:
            # A server says the one of an alias that isn't there, and the other of a model.
            if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
    return Champion(str(found.version), dict(found.tags), str(found.source or ""), int(found.creation_timestamp or 0))
