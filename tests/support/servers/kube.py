"""A Kubernetes API on a loopback port: kmock's emulator, which keeps objects, in front of it what an API server checks.

What is created or replaced must be valid by Kubernetes' own schema, as `kubernetes-validate` has it, its cron one that
the API takes; errors come as the API's Status. Nothing runs what is created: no controller, no kubelet.
"""

import asyncio
import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

# Of the schemas: the oldest one in which all that is used here is stable, and one of today.
VERSIONS = ("1.31", "1.34")
_KINDS = {
    "batch/v1/cronjobs": "CronJob", "batch/v1/jobs": "Job", "v1/pods": "Pod", "v1/serviceaccounts": "ServiceAccount",
    "v1/secrets": "Secret", "v1/configmaps": "ConfigMap", "v1/namespaces": "Namespace",
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

    def __init__(self, emulator: Any, url: str, kubeconfig: Path) -> None:
        self._emulator, self.url, self.context = emulator, url, "test"
        self.environment = {"KUBECONFIG": str(kubeconfig)}
        kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": self.context,
            "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": self.context, "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Those that are there, oldest first."""
        found = [o for o in self._emulator._objects.values() if not o.deleted]
        return [json.loads(json.dumps(o.raw)) for o in found if o.raw.get("kind") == kind]


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[Cluster]:
    """A cluster's API, for as long as the test wants it."""
    for module in ("kmock", "kubernetes", "kubernetes_validate"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"NOT TESTED: {module} isn't here; pip install -c constraints.txt '.[stack-tests]'")
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def serve() -> None:
        import kmock

        emulator = _emulator()
        async with kmock.Server(emulator) as server:
            found.extend([emulator, str(server.url).rstrip("/")])
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(30), "the emulator didn't start"
    try:
        yield Cluster(found[0], found[1], folder / "kubeconfig")
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
            written = str(request.method).rpartition(".")[-1].upper() in ("POST", "PUT")
            if written and (why := invalid(request.data)):
                return _status(422, "Invalid", why)
            if written and "generateName" in request.data.get("metadata", {}):
                metadata = request.data["metadata"]
                metadata.setdefault("name", f"{metadata['generateName']}{len(self._objects):05x}")
            try:
                if written and request.resource is not None and request.name is not None:
                    return await self._replaced(request)
                return await super()._handle(request)
            except Exception as e:
                if isinstance(e.args, tuple) and len(e.args) == 4:  # kmock's own errors: status, reason, text
                    return _status(e.args[1], str(e.args[2]).replace(" ", ""), e.args[3])
                raise

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
