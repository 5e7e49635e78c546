"""A Kubernetes API on a loopback port: kmock's emulator, which keeps objects, in front of it what an API server checks.

What is created or replaced must be valid by Kubernetes' own schema, as `kubernetes-validate` has it, its cron one that
the API takes; errors come as the API's Status. Nothing runs what is created: no controller, no kubelet.
"""

import asyncio
import importlib.util
import json
import re
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

# Of the schemas: the oldest one in which all that is used here is stable, and one of today.
VERSIONS = ("1.31", "1.34")
_KINDS = {
    "batch/v1/cronjobs": "CronJob", "batch/v1/jobs": "Job", "v1/pods": "Pod", "v1/serviceaccounts": "ServiceAccount",
    "v1/secrets": "Secret", "v1/configmaps": "ConfigMap", "v1/namespaces": "Namespace",
    "apps/v1/deployments": "Deployment", "v1/services": "Service",
    "rbac.authorization.k8s.io/v1/rolebindings": "RoleBinding", "coordination.k8s.io/v1/leases": "Lease",
}  # fmt: skip
_CLUSTER = ("v1/namespaces",)
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


class Cluster:
    """The API's address and what was asked of it.

    Attributes:
        environment: variables by which Kubernetes' library finds it.
        context: of the kubeconfig.
    """

    def __init__(self, url: str, kubeconfig: Path) -> None:
        self.url, self.context = url, "test"
        self.environment = {"KUBECONFIG": str(kubeconfig)}
        kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": self.context,
            "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": self.context, "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip

    def patch_job(self, thing: dict[str, Any], **parts: Any) -> None:
        """Change a part of a Job, as controllers do."""
        place = f"apis/batch/v1/namespaces/{thing['metadata']['namespace']}/jobs/{thing['metadata']['name']}"
        data, url = json.dumps(parts).encode(), f"{self.url}/{place}"
        headers = {"Content-Type": "application/merge-patch+json"}
        urllib.request.urlopen(urllib.request.Request(url, data, headers, method="PATCH"), timeout=30).close()

    def add_pod(self, job: dict[str, Any], name: str) -> str:
        """A pod of a Job, as its controller makes one; returns its name."""
        template, namespace = job["spec"]["template"], job["metadata"]["namespace"]
        labels = {**template.get("metadata", {}).get("labels", {}), "job-name": job["metadata"]["name"]}
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        url, headers = f"{self.url}/api/v1/namespaces/{namespace}/pods", {"Content-Type": "application/json"}
        made = urllib.request.Request(url, json.dumps(pod).encode(), headers, method="POST")
        urllib.request.urlopen(made, timeout=30).close()
        return name

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Those that are there, oldest first."""
        path = next(path for path, known in _KINDS.items() if known == kind)
        prefix = "apis" if path.count("/") == 2 else "api"
        with urllib.request.urlopen(f"{self.url}/{prefix}/{path}", timeout=30) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["items"]
        return found


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[Cluster]:
    """A cluster's API, for as long as the test wants it."""
    for module in ("kmock", "kubernetes", "kubernetes_validate"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"NOT TESTED: {module} isn't here; pip install -c constraints.txt '.[stack-tests]'")
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[str] = []

    async def serve() -> None:
        import kmock

        emulator = _emulator()
        async with kmock.Server(emulator) as server:
            found.append(str(server.url).rstrip("/"))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(30), "the emulator didn't start"
    try:
        yield Cluster(found[0], folder / "kubeconfig")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def _emulator() -> Any:
    import aiohttp.web
    import kmock

    class Emulator(kmock.KubernetesEmulator):  # type: ignore[misc]
        async def _handle(self, request: Any) -> Any:
            if request.url.path == "/version":
                return aiohttp.web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
            if request.resource is not None and isinstance(request.data, dict):
                place = f"{request.resource.group}/" * bool(request.resource.group) + str(request.resource.version)
                kind = _KINDS.get(f"{place}/{request.resource.plural}")
                request.data.update({} if kind is None else {"kind": kind, "apiVersion": place})
                _with_defaults(request.data)
            written = str(request.method).rpartition(".")[-1].upper() in ("POST", "PUT")
            if written and (why := invalid(request.data)):
                return _status(422, "Invalid", why)
            if written and isinstance(request.data, dict):
                metadata = request.data.setdefault("metadata", {})
                metadata.setdefault("uid", str(uuid.uuid4()))
                metadata.update({"namespace": request.namespace} if request.namespace else {})
                metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
                request.data.setdefault("status", {})
            if written and "generateName" in request.data.get("metadata", {}):
                metadata.setdefault("name", f"{metadata['generateName']}{len(self._objects):05x}")
            try:
                if written and request.resource is not None and request.name is not None:
                    return await self._replaced(request)
                return await super()._handle(request)
            except Exception as e:
                if isinstance(e.args, tuple) and len(e.args) == 4:  # kmock's own errors: status, reason, text
                    return _status(e.args[1], str(e.args[2]).replace(" ", ""), e.args[3])
                raise

        async def _serve_list(self, request: Any) -> Any:
            found = await super()._serve_list(request)
            wanted = request.url.query.get("labelSelector", "")
            return {**found, "items": [i for i in found["items"] if _selected(i, wanted)]}

        async def _replaced(self, request: Any) -> Any:
            key = (request.resource, request.namespace, request.name)
            if key not in self._objects or self._objects[key].deleted:
                return _status(404, "NotFound", f"{request.name} not found")
            self._objects[key].delete()
            self._objects[key].create(request.data)
            return aiohttp.web.json_response(request.data)

    emulator = Emulator()
    for path, kind in _KINDS.items():
        verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
        emulator.resources[path] = {"namespaced": path not in _CLUSTER, "kind": kind, "verbs": verbs}
    return emulator


def _with_defaults(thing: dict[str, Any]) -> None:
    """What the API fills in before it looks, and the schema calls required."""
    policy = thing.get("spec", {}).get("podFailurePolicy", {}) if thing.get("kind") == "Job" else {}
    for rule in policy.get("rules", ()):
        for condition in rule.get("onPodConditions") or ():
            condition.setdefault("status", "True")


def invalid(thing: Any) -> str:
    """What the API would say against it; ""."""
    import kubernetes_validate

    if not isinstance(thing, dict) or thing.get("kind") not in _KINDS.values():
        return ""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(_without_nulls(thing), version, strict=True)
        except kubernetes_validate.ValidationError as e:
            return f"{version}: {'.'.join(map(str, e.path))}: {e.message}"
    if thing["kind"] == "CronJob":
        return _wrong_cron(thing["spec"]["schedule"])
    return ""


def _selected(thing: dict[str, Any], selector: str) -> bool:
    """Whether its labels are those of an equality selector; kmock gives all."""
    labels = thing.get("metadata", {}).get("labels") or {}
    pairs = (part.replace("==", "=").split("=") for part in selector.split(",") if "=" in part)
    return all(labels.get(name.strip()) == value.strip() for name, value in pairs)


def _without_nulls(value: Any) -> Any:
    """An API server takes a null for a key that isn't there."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _wrong_cron(text: str) -> str:
    """Numbers, lists of them and stars, as what is sent here is made of; every API server takes these."""
    fields = text.split(" ")
    for field, (low, high) in zip(fields, _RANGES, strict=False):
        numbers = [] if field == "*" else field.split(",")
        if any(not re.fullmatch(r"\d+", n) or not low <= int(n) <= high for n in numbers):
            return f"spec.schedule: Invalid value: {text!r}: {field}"
    return "" if len(fields) == len(_RANGES) else f"spec.schedule: Invalid value: {text!r}: expected exactly 5 fields"


def _status(code: int, reason: str, message: str) -> Any:
    import aiohttp.web

    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return aiohttp.web.json_response({**body, "code": code}, status=code)
