"""What is to be deployed: the model that a name means, what names it for good, and what speaks against it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from materializers.artifacts import is_remote
from ops.deploy import kubernetes, sagemaker
from ops.deploy.container import Packed, packed
from ops.deploy.state import Server, Target
from ops.found_models import FoundModel, find_model
from ops.release.clearance import NOT_JUDGED, clearance_of
from ops.release.facts import behind
from ops.run_index import artifacts_of, known_runs
from ops.serving.gguf import GgufModel, find_gguf, refuse_layers
from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.models import ModelFolder
from steps.engines.exports.gguf.llama_process import require_server
from steps.engines.tracking.database import database_file
from steps.engines.tracking.secrets import without_secret

_PLACES: Mapping[str, Callable[[str], dict[str, str]]] = {
    "kubernetes": kubernetes.place_of, "sagemaker": sagemaker.place_of,
}  # fmt: skip


def wanted(root: Path, text: str, to: Target, name: str, over: str | None, overrides: Sequence[str]) -> Server:
    """The server that is asked for, without what tells it from another one of the same model.

    Raises:
        ConfigError: it can't be deployed so. MissingDependencyError: what would answer isn't installed.
        As `find_model`, `find_gguf`.
    """
    file = find_gguf(text)
    if file is not None:
        return _of_file(root, text, file, to, name, over, overrides)
    found = find_model(root, text, over)
    against = clearance_of(root, found, behind(root, found), "deployed").against
    return Server(
        id="", name=name, to=to, asked=text, model=_named(root, found, to), digest=found.model.info.digest, port=0,
        place=_PLACES[to](name) if to in _PLACES else {}, against=against, overrides=tuple(overrides),
        over=over and str(Path(over).expanduser().resolve() if Path(over).expanduser().is_dir() else over),
    )  # fmt: skip


def packed_model(root: Path, server: Server) -> Packed:
    """The files of a server's model, for a container.

    Raises:
        IntegrityError: what its name means has other weights by now. As `find_model`, `packed`.
    """
    found = find_model(root, server.model, server.over)
    if found.model.info.digest != server.digest:
        what = f"has the weights {found.model.info.digest[:12]} instead of {server.digest[:12]}"
        raise IntegrityError(what, where=server.asked, hint="the model's files were changed since it was named")
    return packed(found, server.name, server.overrides)


def _of_file(
    root: Path, text: str, file: GgufModel, to: Target, name: str, over: str | None, overrides: Sequence[str]
) -> Server:
    if to != "serve":
        what = "a GGUF file is answered by llama.cpp, on this machine"
        raise ConfigError(what, where=f"--to {to}", hint="--to serve")
    refuse_layers(over)
    require_server()
    return Server(
        id="", name=name, to=to, asked=text, model=str(file.file.resolve()), digest=file.digest, file=file.sha256,
        port=0, against=_against(root, text, file), overrides=tuple(overrides),
    )  # fmt: skip


def _against(root: Path, text: str, file: GgufModel) -> tuple[str, ...]:
    """What speaks against the model that a file was exported from, as its run and the registry have it."""
    run = next((r for r in known_runs(root) if r.name == file.run), None)
    made = [a for a in run.of_type("model") if a.digest == file.digest] if run is not None else []
    if run is None or not made:
        return (NOT_JUDGED,)
    found = FoundModel(text, ModelFolder(artifacts_of(root, run).model(made[0]), None), None, run)
    return clearance_of(root, found, behind(root, found), "deployed").against


def _named(root: Path, found: FoundModel, to: Target) -> str:
    """What the server is told.

    Raises:
        ConfigError: it can't be reached from there.
    """
    if to in ("serve", "sagemaker"):
        return _lasting(root, found)
    version = _version(found)
    if to == "mlflow":
        return version
    assert found.run is not None
    for what, uri in (("registry", version.rpartition("#")[0]), ("artifact store", found.run.artifact_store)):
        if database_file(uri) is not None or not is_remote(uri):
            hint = "run on a stack whose stores are shared, such as `s3`"
            raise ConfigError(f"its {what} is this machine's, which no pod reaches", where=found.name, hint=hint)
    return f"model:{version}"


def _lasting(root: Path, found: FoundModel) -> str:
    """What names the same weights later, whatever becomes of an alias."""
    run, digest = found.run, found.model.info.digest
    if run is None:
        return str(Path(found.name).expanduser().resolve())
    if any(r.run_id == run.run_id for r in known_runs(root)):
        named = next((a.name for a in run.of_type("model") if a.digest == digest), None)
        if named is not None:
            return f"run:{run.name}/{named}"
    return f"model:{_version(found)}"


def _version(found: FoundModel) -> str:
    """REGISTRY#NAME/VERSION of the weights.

    Raises:
        ConfigError: they aren't registered.
    """
    made = found.run.registration if found.run is not None else None
    if made is None or made.tags.get("weights_digest") != found.model.info.digest:
        raise ConfigError("these weights aren't registered in MLflow", where=found.name, hint="--to serve")
    return f"{without_secret(made.tracking_uri)}#{made.name}/{made.version}"
