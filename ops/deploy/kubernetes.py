"""A model in a cluster: a Deployment whose pods run `assay serve` in the image, and a Service before them.

Kubernetes keeps the old pods until the new ones answer. Whether they ever do nobody has seen here: nothing is tested.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ops.deploy.state import Server
from ops.kubernetes_answers import message_of, there_or_none
from steps.contracts.errors import AssayError, ConfigError, MissingDependencyError, ServiceError
from steps.engines.tracking.secrets import without_secret

PORT = 8000
# Variables that say where, as the stack `kubernetes` has them, and which image.
_IMAGE, _CONTEXT, _NAMESPACE = "ASSAY_IMAGE", "ASSAY_KUBERNETES_CONTEXT", "ASSAY_KUBERNETES_NAMESPACE"
# A secret of the namespace with what pods need: ASSAY_SERVE_KEY, passwords of registry and store. There may be none.
_SECRET = "assay-serve"
_MANAGED = {"app.kubernetes.io/managed-by": "assay"}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")
# The library's types of Kubernetes 1.25 refuse what newer servers answer.
_RAW = {"_preload_content": False}
# Chosen: seconds that answers on their way have (`assay serve` takes 60); tries of ten seconds until a pod must be up.
_GRACE, _TRIES = 75, 120


def place_of(name: str) -> dict[str, str]:
    """Where a deployment goes, by the environment.

    Raises:
        ConfigError: no image is named, or the name is none of Kubernetes'.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name in Kubernetes", where="--as", hint="small letters, digits and '-'")
    image = os.environ.get(_IMAGE, "")
    if not image:
        raise ConfigError(f"{_IMAGE} names no image", where="--to kubernetes", hint="make image; docs/image.md")
    return {
        "image": image, "context": os.environ.get(_CONTEXT, ""),
        "namespace": os.environ.get(_NAMESPACE) or "zenml",
    }  # fmt: skip


def manifests(server: Server) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Deployment and the Service."""
    name, namespace = f"assay-{server.name}", server.place["namespace"]
    labels = {**_MANAGED, "app.kubernetes.io/name": "assay-serve", "app.kubernetes.io/instance": server.name}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    settings = [word for one in server.overrides for word in ("--set", one)]
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5}
    container = {
        "name": "serve",
        "image": server.place["image"],
        "command": ["assay"],
        "args": ["serve", server.model, "--as", server.name, "--host", "0.0.0.0", "--port", str(PORT), *settings],
        "env": [{"name": "MLFLOW_TRACKING_URI", "value": _registry(server)}],
        "envFrom": [{"secretRef": {"name": _SECRET, "optional": True}}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": probe,
        "livenessProbe": {**probe, "failureThreshold": 6},
        "startupProbe": {**probe, "failureThreshold": _TRIES},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    annotations = {"assay/model": server.model, "assay/digest": server.digest, "assay/server": server.id}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": annotations},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/instance": server.name, **_MANAGED}},
            # No pod of the old one ends before one of the new answers.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "terminationGracePeriodSeconds": _GRACE,
                    "securityContext": {"runAsNonRoot": True},
                    "containers": [container],
                },
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": {"app.kubernetes.io/instance": server.name, **_MANAGED},
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    }
    return deployment, service


def _registry(server: Server) -> str:
    return without_secret(server.model.removeprefix("model:").rpartition("#")[0])


def apply(server: Server) -> None:
    """Make both, or bring them to this.

    Raises:
        ConfigError: the cluster has others of these names that aren't assay's. ServiceError: it refuses, or can't be
            asked.
    """
    deployment, service = manifests(server)
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    with _api(server) as (apps, core):
        there = there_or_none(lambda: apps.read_namespaced_deployment(name, namespace, **_RAW))
        before = there_or_none(lambda: core.read_namespaced_service(name, namespace, **_RAW))
        for kind, found in (("Deployment", there), ("Service", before)):
            if found is not None and not _MANAGED.items() <= (found["metadata"].get("labels") or {}).items():
                what = f"there is a {kind} {name} in namespace {namespace} that isn't assay's"
                raise ConfigError(what, where="--to kubernetes", hint="--as another name")
        if before is None:
            core.create_namespaced_service(namespace, service, **_RAW)
        if there is None:
            apps.create_namespaced_deployment(namespace, deployment, **_RAW)
        else:
            # Replaced whole, so that what was taken out goes; not over what somebody changed since it was read.
            version = there["metadata"].get("resourceVersion")
            metadata = {**deployment["metadata"], **({"resourceVersion": version} if version else {})}
            apps.replace_namespaced_deployment(name, namespace, {**deployment, "metadata": metadata}, **_RAW)


def remove(server: Server) -> int:
    """Take both away; returns how many were there.

    Raises:
        ServiceError: as `apply`.
    """
    name, namespace = f"assay-{server.name}", server.place["namespace"]
    with _api(server) as (apps, core):
        gone = [
            there_or_none(lambda: apps.delete_namespaced_deployment(name, namespace, **_RAW)),
            there_or_none(lambda: core.delete_namespaced_service(name, namespace, **_RAW)),
        ]
    return len([one for one in gone if one is not None])


def applied(server: Server) -> tuple[bool, str]:
    """Whether pods are ready, and what the cluster has of it: absent, another (server), or how many pods are ready.

    Raises:
        ServiceError: it can't be asked.
    """
    name, namespace = f"assay-{server.name}", server.place["namespace"]
    with _api(server) as (apps, _):
        found = there_or_none(lambda: apps.read_namespaced_deployment(name, namespace, **_RAW))
    if found is None:
        return False, "absent"
    if (found["metadata"].get("annotations") or {}).get("assay/server") != server.id:
        return False, "another"
    ready = int((found.get("status") or {}).get("readyReplicas") or 0)
    return ready > 0, f"{ready} of {found['spec']['replicas']} ready"


@contextmanager
def _api(server: Server) -> Iterator[tuple[Any, Any]]:
    try:
        from kubernetes import client, config
        from urllib3.exceptions import HTTPError
    except ImportError as e:
        hint = "pip install -c constraints.txt '.[kubernetes]'"
        raise MissingDependencyError("Kubernetes' library isn't installed", where="--to kubernetes", hint=hint) from e
    where = f"namespace {server.place['namespace']}"
    try:
        made = config.new_client_from_config(context=server.place["context"] or None)
        made.configuration.retries = 1
        yield client.AppsV1Api(made), client.CoreV1Api(made)
    except AssayError:
        raise
    except client.ApiException as e:
        raise ServiceError(f"Kubernetes refused it: {message_of(e)}", where=where) from e
    except (config.ConfigException, HTTPError, OSError) as e:
        raise ServiceError(f"Kubernetes can't be asked: {str(e)[:300]}", where=where) from e
