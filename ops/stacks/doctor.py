"""All that keeps a stack from being used, at once: what isn't set, installed, answered, permitted. Changes nothing."""

import importlib.util
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ops.commands.doctor import Check, mlflow_checks
from ops.infra import InfraConfig
from ops.stacks.apply import is_shared
from ops.stacks.checks import SCHEDULING, joining, misfits
from ops.stacks.declaration import Declaration, declaration
from ops.stacks.files import StackFile
from ops.stacks.usable import (
    PATIENCE,
    REMOTE_FIX,
    in_memory,
    misfit,
    server_trouble,
    store_trouble,
    told,
    within,
)
from pipelines.load import load_model
from pipelines.step_names import KNOWN_STEPS
from steps.contracts.errors import AssayError, ConfigError
from steps.engines.tracking.secrets import without_secret

_SECONDS = 3.0
# The module that shows that the libraries of an extra are there.
_MODULES = {
    "s3": "s3fs", "kubernetes": "kubernetes", "aws": "sagemaker", "gcp": "kfp", "gcs": "gcsfs", "azure": "azure.ai.ml",
}  # fmt: skip


def examine(path: Path, infra: InfraConfig | None, environment: Mapping[str, str]) -> list[Check]:
    """Everything that is to be said of a stack, and of the infra file that names it."""
    file = load_model(StackFile, path)
    checks = [*_libraries(file), *(_infra(infra, file, environment) if infra is not None else ())]
    checks.append(_opened())
    if checks[-1].status == "missing":
        return checks
    try:
        declared = declaration(path, environment, shared=is_shared())
    except ConfigError as e:
        lines = e.what.splitlines()[1:] or [e.what]
        return [*checks, *(Check("file", "missing", line.strip(), str(path)) for line in lines)]
    image = _image_of(infra, environment)
    return [*checks, Check("file", "ok", f"{len(declared.components)} components are as ZenML takes them"),
            *_living(declared), *([_image(declared, image)] if image else ()), _scheduling(file)]  # fmt: skip


def _opened() -> Check:
    """Whether ZenML's store can be used; a local one is made."""
    from steps.zenml_runtime.database import local_database, open_store

    try:
        client = open_store()
        url = without_secret(str(client.zen_store.url))
        who = "" if local_database() is not None else f", as {client.active_user.name}"
        return Check("ZenML store", "ok", f"{url} answers{who}")
    except AssayError as e:
        return Check("ZenML store", "missing", f"{e.where}: {e.what}" if e.where else e.what, e.hint or "")
    except (OSError, RuntimeError) as e:
        return Check("ZenML store", "missing", told(e), "start it, or correct ZENML_STORE_URL")


def missing_extras(file: StackFile) -> list[str]:
    """Extras of pyproject.toml that the stack needs and that aren't installed."""
    return [extra for extra in file.extras if extra in _MODULES and not _is_there(_MODULES[extra])]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _libraries(file: StackFile) -> Iterator[Check]:
    missing = missing_extras(file)
    for extra in file.extras:
        fix = f"pip install -c constraints.txt '.[{extra}]'; see docs/stacks.md" if extra in missing else ""
        yield Check(f"extra {extra}", "missing" if extra in missing else "ok",
                    "not installed" if extra in missing else "installed", fix)  # fmt: skip


def _infra(infra: InfraConfig, file: StackFile, environment: Mapping[str, str]) -> Iterator[Check]:
    steps = [s for s in KNOWN_STEPS if s not in ("train_step", "evaluate_step")]
    found = list(misfits(infra, file, [*steps, "train_step", "evaluate_step"], environment))
    for one in found:
        yield Check("infra file", "missing" if one.stops else "optional", infra.said_of(one.place, one.what))
    if not found:
        yield Check("infra file", "ok", "everything that it asks for is heeded")
    for one in joining(infra, KNOWN_STEPS):
        yield Check("other machines", "optional", infra.said_of(one.place, one.what))


def _living(declared: Declaration) -> Iterator[Check]:
    """What only the services themselves can tell."""
    try:
        stack = in_memory(declared)
    except Exception as e:  # noqa: BLE001 - a library that is there and broken
        yield Check("components", "missing", told(e), "its library is another than ZenML 0.98 knows")
        return
    why = server_trouble(stack)
    yield Check("ZenML server", "missing" if why else "ok", why or "reached by all steps", REMOTE_FIX if why else "")
    why = misfit(stack)
    yield Check("composition", "missing" if why else "ok", why or "the components fit together")
    yield _store(stack.artifact_store)
    yield from _credentials(declared)
    yield from _tracker(stack.experiment_tracker)
    for component in declared.of("container_registry"):
        yield _listens("container registry", str(component.configuration.get("uri") or ""))
    if any(c.flavor == "local_docker" for c in declared.of("orchestrator")):
        yield _docker()


def _store(store: Any) -> Check:
    if store.config.is_local and not Path(store.path).exists():
        return Check("artifact store", "ok", f"{store.path}: made by the first run")
    why = store_trouble(store)
    fix = "give these credentials leave to write, read and delete there; credentials may have ended" if why else ""
    return Check("artifact store", "missing" if why else "ok", why or f"{store.path}: written, read back, deleted", fix)


def _tracker(tracker: Any) -> Iterator[Check]:
    if tracker is None or tracker.flavor != "mlflow":
        return
    yield from mlflow_checks(str(tracker.get_tracking_uri()), tracker)


def _credentials(declared: Declaration) -> Iterator[Check]:
    """Who the cloud takes us for, by its own library."""
    flavors = {c.flavor for c in declared.components}
    if "sagemaker" in flavors:
        yield _asked(
            "AWS account", _aws, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; log in anew"
        )
    if "vertex" in flavors:
        yield _asked(
            "Google account", _google, "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
        )
    if "azureml" in flavors:
        yield _asked("Azure account", _azure, "az login, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID")
    if "kubernetes" in flavors:
        contexts = [c.configuration.get("kubernetes_context") for c in declared.components if c.flavor == "kubernetes"]
        yield _asked("Kubernetes account", lambda: _kubernetes(contexts), "correct KUBECONFIG or the context's name")


def _asked(name: str, ask: Any, fix: str) -> Check:
    try:
        return Check(name, "ok", str(within(PATIENCE, ask)))
    except Exception as e:  # noqa: BLE001 - whatever the cloud's library raises is what is to be told
        return Check(name, "missing", told(e), fix)


def _aws() -> str:
    import boto3
    from botocore.config import Config

    patience = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"max_attempts": 1})
    return str(boto3.client("sts", config=patience).get_caller_identity()["Arn"])


def _google() -> str:
    import google.auth
    from google.auth.transport.requests import Request

    credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    credentials.refresh(Request())
    return f"project {project}"


def _azure() -> str:
    from azure.identity import DefaultAzureCredential

    DefaultAzureCredential().get_token("https://management.azure.com/.default")
    return "a token was given"


def _kubernetes(contexts: list[Any]) -> str:
    from kubernetes import client, config

    for context in contexts:
        config.load_kube_config(context=context)
        version = client.VersionApi().get_code(_request_timeout=_SECONDS)
    return f"version {version.git_version}"


def _listens(name: str, uri: str) -> Check:
    parts = urlsplit(f"//{uri.partition('/')[0]}")
    try:
        port = parts.port or 443
        with socket.create_connection((parts.hostname or "", port), _SECONDS):
            return Check(name, "ok", f"{parts.hostname}:{port} listens; whether images may be pushed isn't known")
    except (OSError, ValueError) as e:
        return Check(name, "missing", f"{uri}: {told(e)}", "correct the address, or open the way to it")


def _docker() -> Check:
    import docker

    try:
        client = docker.from_env(timeout=int(_SECONDS))
        return Check("Docker", "ok", f"version {client.version()['Version']}")
    except Exception as e:  # noqa: BLE001 - whatever Docker's library raises is what is to be told
        return Check("Docker", "missing", told(e), "start it, or name it by DOCKER_HOST")


def _image_of(infra: InfraConfig | None, environment: Mapping[str, str]) -> str:
    """The image that steps run in; "" where there is none, or its variable isn't set."""
    docker = infra.filled(environment).settings.get("docker", {}) if infra is not None else {}
    return str(docker.get("parent_image") or "")


def _image(declared: Declaration, image: str) -> Check:
    """Whether the image is there: on this machine where its Docker runs the steps, else in its registry."""
    if any(c.flavor == "local_docker" for c in declared.of("orchestrator")):
        return _asked("image", lambda: _image_here(image), f"build or pull it: docker pull {image}")
    host, _, name = image.partition("/")
    name, _, tag = name.partition(":")
    place = f"https://{host}/v2/{name}/manifests/{tag or 'latest'}"
    try:
        with urllib.request.urlopen(urllib.request.Request(place, method="HEAD"), timeout=_SECONDS):
            return Check("image", "ok", f"{image} is there")
    except urllib.error.HTTPError as e:
        if e.code in (401, 403):
            return Check("image", "ok", f"{image}: its registry answers, and tells only those who log in")
        return Check("image", "missing", f"{image}: its registry says {e.code}", "build it and push it")
    except (OSError, ValueError) as e:
        return Check("image", "missing", f"{image}: {told(e)}", "correct ASSAY_IMAGE, or open the way to its registry")


def _image_here(image: str) -> str:
    import docker

    return f"{image}: {docker.from_env(timeout=int(_SECONDS)).images.get(image).short_id}"


def _scheduling(file: StackFile) -> Check:
    flavors = [c.flavor for c in file.components.get("orchestrator", ())]
    if any(f in SCHEDULING for f in flavors):
        return Check(
            "schedules", "ok", f"{flavors[0]} can start runs by a clock of its own; `assay scheduler` can, too"
        )
    return Check(
        "schedules", "ok", f"{flavors[0] if flavors else 'it'} has no clock: `assay scheduler` starts its runs"
    )
