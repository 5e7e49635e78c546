"""Which registered model a text means, and in which registry: [URI#]MODEL, MODEL@ALIAS or MODEL/VERSION."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ops.references import reference
from ops.run_index import known_runs
from steps.contracts.errors import InputError, InputNotFoundError
from steps.engines.tracking.secrets import without_secret

_MODEL = re.compile(r"(?P<name>[^@/\s#:]+)(?:@(?P<alias>[^@/\s#]+)|/(?P<version>[^@/\s#]+))?")


@dataclass(frozen=True)
class ModelReference:
    """A registered model. `uri`: its registry, without user and password; version and alias: at most one is said."""

    uri: str
    name: str
    version: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        end = f"@{self.alias}" if self.alias else f"/{self.version}" if self.version else ""
        return f"{self.uri}#{self.name}{end}" if self.uri else f"{self.name}{end}"


def parsed(text: str) -> ModelReference:
    """What `text` says; `uri` is "" where it names no registry.

    Raises:
        InputError: no reference.
    """
    uri, _, rest = reference(text, "model").name.rpartition("#")
    match = _MODEL.fullmatch(rest)
    if match is None:
        raise InputError(f"not a model reference: {text!r}", hint="[URI#]MODEL, MODEL@alias or MODEL/version")
    return ModelReference(uri, match["name"], match["version"], match["alias"])


def model_reference(root: Path, text: str) -> ModelReference:
    """What `text` means. Without URI#: the one registry that runs of the index registered this model in, else what
    MLFLOW_TRACKING_URI names.

    Raises:
        InputError: no reference, or several registries have a model of that name. InputNotFoundError: none is known.
    """
    said = parsed(text)
    return said if said.uri else replace(said, uri=_registry(root, said.name))


def _registry(root: Path, name: str) -> str:
    made = [r.registration for r in known_runs(root) if r.registration and r.registration.name == name]
    uris = sorted({r.tracking_uri for r in made})
    if len(uris) > 1:
        hint = "say which: " + " or ".join(f"{uri}#{name}" for uri in uris)
        raise InputError(f"{len(uris)} registries have a model {name!r}", hint=hint)
    if uris:
        return uris[0]
    own = os.environ.get("MLFLOW_TRACKING_URI")
    if not own:
        hint = "URI#MODEL, or set MLFLOW_TRACKING_URI; `assay runs --sync` looks for runs of others"
        raise InputNotFoundError(f"no known run registered a model {name!r}", hint=hint)
    return without_secret(own)
