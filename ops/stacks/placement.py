"""What a step needs of a machine, as the flavour that runs it takes it, and what that flavour doesn't heed.

ZenML's own ResourceSettings reach Vertex AI and Airflow's pods only (0.98): Kubernetes, Docker and AzureML have
settings of their own, and SageMaker and Databricks choose by the name of a machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.zenml_runtime.state import ON_THIS_MACHINE

_MEMORY = r"^[0-9]+(B|KB|KiB|MB|MiB|GB|GiB|TB|TiB|PB|PiB)$"
_UNITS: dict[str, int] = {unit: 1000**i for i, unit in enumerate(("B", "KB", "MB", "GB", "TB", "PB"))} | {
    unit: 1024**i for i, unit in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB"), 1)
}
# Chosen: what a service needs to start a machine and fetch the image, besides the step's own time, in seconds.
_START = 1800
PODS_OF_AIRFLOW = "airflow.providers.cncf.kubernetes.operators.kubernetes_pod.KubernetesPodOperator"


class Resources(Frozen):
    """What a step needs of the machine it runs on."""

    cpu: float | None = Field(None, gt=0, description="cores")
    gpu: int | None = Field(None, ge=0, description="accelerators; their kind is a setting of the orchestrator")
    memory: str | None = Field(None, pattern=_MEMORY, description="such as 16GiB")
    shared_memory: str | None = Field(
        None, pattern=_MEMORY, description="size of /dev/shm, which loaders of training use; part of `memory` in pods"
    )


class Retry(Frozen):
    """How often a step that failed is tried again."""

    max_retries: int = Field(1, ge=1, description="tries after the first one")
    delay: int = Field(0, ge=0, description="seconds before the next try")
    backoff: int = Field(1, ge=1, description="what the delay is multiplied by after each try")


@dataclass(frozen=True)
class Needs:
    """What one step asks for. `timeout`: seconds."""

    resources: Resources = field(default_factory=Resources)
    retry: Retry | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Placed:
    """Attributes: `settings`: ZenML's, of the flavour or of `resources`. `ignored`: what isn't heeded, and why."""

    settings: Mapping[str, Any]
    ignored: tuple[str, ...] = ()


def place(kind: str, flavor: str, needs: Needs, given: Mapping[str, Any]) -> Placed:
    """`kind`: orchestrator or step_operator, whichever runs the step. `given`: the settings that the infra file has for
    it.
    """
    placed = _PLACES.get(flavor, _nowhere)(needs, given)
    resources = placed.settings.get("resources")
    own = {k: v for k, v in placed.settings.items() if k != "resources"}
    return Placed(
        {**({kind: own} if own else {}), **({"resources": resources} if resources else {})},
        (*placed.ignored, *_of_retry(flavor, needs)),
    )


def _of_retry(flavor: str, needs: Needs) -> tuple[str, ...]:
    """What becomes of tries; the time limit is kept by the step itself, wherever it runs."""
    if needs.retry is None:
        return ()
    if flavor == "kubernetes":
        waits = needs.retry.delay or needs.retry.backoff > 1
        return ("retry.delay, retry.backoff: Kubernetes waits by its own rule",) if waits else ()
    if flavor in (*ON_THIS_MACHINE, "local_docker"):
        return ()
    return ("retry after a lost machine: tries are made within the job that failed",)


def size(text: str) -> int:
    """Bytes of a size such as 16GiB."""
    number = text.rstrip("BKMGTPi")
    unit: int = _UNITS[text[len(number) :]]
    return int(number) * unit


def _said(resources: Resources) -> list[str]:
    return [f"resources.{name}" for name, value in resources.model_dump().items() if value is not None]


def _nowhere(needs: Needs, given: Mapping[str, Any]) -> Placed:
    """Steps of this process or its children have the machine that they have."""
    said = _said(needs.resources)
    return Placed({}, (f"{', '.join(said)}: steps have what this machine has",) if said else ())


def _pod(needs: Needs, given: Mapping[str, Any]) -> Placed:
    """Requests and limits of a pod; shared memory is a volume, since a pod's own has 64 MiB."""
    r = needs.resources
    wanted = {
        **({"cpu": f"{r.cpu:g}"} if r.cpu else {}),
        **({"memory": _kubernetes_size(r.memory)} if r.memory else {}),
        **({"nvidia.com/gpu": str(r.gpu)} if r.gpu else {}),
    }
    # A limit on cores stops threads that have others' idle cores to themselves; memory and GPUs can't be shared.
    limits = {k: v for k, v in wanted.items() if k != "cpu"}
    pod: dict[str, Any] = (
        {"resources": {"requests": wanted, **({"limits": limits} if limits else {})}} if wanted else {}
    )
    if r.shared_memory:
        volume = {"medium": "Memory", "sizeLimit": _kubernetes_size(r.shared_memory)}
        pod["volumes"] = [{"name": "shm", "emptyDir": volume}]
        pod["volume_mounts"] = [{"name": "shm", "mountPath": "/dev/shm"}]
    return Placed({"pod_settings": pod} if pod else {})


def _kubernetes_size(text: str) -> str:
    return text.removesuffix("B") or "0"


def _container(needs: Needs, given: Mapping[str, Any]) -> Placed:
    """Arguments of `docker run`, in the words of Docker's Python library."""
    r = needs.resources
    gpus = [{"Driver": "nvidia", "Count": r.gpu, "Capabilities": [["gpu"]]}] if r.gpu else []
    found = {
        **({"nano_cpus": int(r.cpu * 1e9)} if r.cpu else {}),
        **({"mem_limit": size(r.memory)} if r.memory else {}),
        **({"shm_size": size(r.shared_memory)} if r.shared_memory else {}),
        **({"device_requests": gpus} if gpus else {}),
    }
    return Placed({"run_args": found} if found else {})


def _airflow(needs: Needs, given: Mapping[str, Any]) -> Placed:
    """ZenML hands resources to Airflow's pods; containers of its DockerOperator take arguments."""
    r = needs.resources
    if given.get("operator") == PODS_OF_AIRFLOW:
        return Placed({"resources": _native(r)}, _left(r, "shared_memory", "a volume of operator_args"))
    found = {
        **({"cpus": r.cpu} if r.cpu else {}),
        **({"mem_limit": size(r.memory)} if r.memory else {}),
        **({"shm_size": size(r.shared_memory)} if r.shared_memory else {}),
    }
    return Placed(
        {"operator_args": found} if found else {}, _left(r, "gpu", f"operator: {PODS_OF_AIRFLOW}") if r.gpu else ()
    )


def _vertex(needs: Needs, given: Mapping[str, Any]) -> Placed:
    r = needs.resources
    wants_kind = r.gpu and not given.get("node_selector_constraint") and not given.get("accelerator_type")
    kind = ("resources.gpu: Vertex AI gives none without its kind, settings.orchestrator.node_selector_constraint",)
    return Placed({"resources": _native(r)}, (*_left(r, "shared_memory", ""), *(kind if wants_kind else ())))


def _azureml(needs: Needs, given: Mapping[str, Any]) -> Placed:
    r = needs.resources
    shm = {"shm_size": f"{size(r.shared_memory) >> 20}m"} if r.shared_memory else {}
    ignored = [name for name in _said(r) if name != "resources.shared_memory"]
    why = f"{', '.join(ignored)}: the compute that settings name (compute_name, size) decides"
    return Placed(shm, (why,) if ignored else ())


def _sagemaker(needs: Needs, given: Mapping[str, Any]) -> Placed:
    """A job of SageMaker's ends after a day, unless it is told otherwise."""
    said = _said(needs.resources)
    limit = {"max_runtime_in_seconds": int(needs.timeout) + _START} if needs.timeout else {}
    return Placed(limit, (f"{', '.join(said)}: settings.orchestrator.instance_type decides",) if said else ())


def _databricks(needs: Needs, given: Mapping[str, Any]) -> Placed:
    said = _said(needs.resources)
    limit = {"task_timeout_seconds": int(needs.timeout) + _START} if needs.timeout else {}
    return Placed(limit, (f"{', '.join(said)}: node_type_id decides, for all steps of a job",) if said else ())


def _left(resources: Resources, name: str, instead: str) -> tuple[str, ...]:
    if not getattr(resources, name):
        return ()
    return (f"resources.{name}: not heeded" + (f"; use {instead}" if instead else ""),)


def _native(resources: Resources) -> dict[str, Any]:
    """As ZenML's ResourceSettings."""
    named = {"cpu_count": resources.cpu, "gpu_count": resources.gpu, "memory": resources.memory}
    return {k: v for k, v in named.items() if v is not None}


_PLACES: Mapping[str, Callable[[Needs, Mapping[str, Any]], Placed]] = {
    "kubernetes": _pod,
    "local_docker": _container,
    "airflow": _airflow,
    "vertex": _vertex,
    "azureml": _azureml,
    "sagemaker": _sagemaker,
    "databricks": _databricks,
}
