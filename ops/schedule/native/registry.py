"""Which service fires a schedule, and what was made of it there."""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from pathlib import Path
from uuid import uuid4

from ops.infra import load_infra
from ops.schedule.native.service import Service, Spec, check_kept, differences
from ops.schedule.schedule import SCHEDULER, Schedule
from ops.schedule.table import schedules_folder
from ops.stacks.checks import SCHEDULING
from ops.stacks.files import StackFile, filled, stack_file
from pipelines.load import load_model
from steps.contracts.errors import ConfigError
from steps.contracts.storage import write_whole

# On the command line: the stack that the runs are on.
OWN_STACK = "service"
# By flavour of the orchestrator: the class of its clock.
_CLOCKS = {
    "airflow": "ops.schedule.native.airflow.Airflow",
    "azureml": "ops.schedule.native.azureml.AzureML",
    "sagemaker": "ops.schedule.native.eventbridge.EventBridge",
    "databricks": "ops.schedule.native.databricks.Databricks",
    "kubernetes": "ops.schedule.native.kubernetes.Kubernetes",
    "vertex": "ops.schedule.native.vertex.Vertex",
}


def place_of(root: Path, schedule: Schedule) -> str:
    """The stack that a schedule's runs are on."""
    return schedule.stack or load_infra(root, schedule.infra or schedule.stack).stack


def service_of(root: Path, stack: str, environment: Mapping[str, str] = os.environ) -> Service:
    """The clock of a stack's orchestrator.

    Raises:
        ConfigError: that stack has none, or none that is known here. InputNotFoundError: there is no such stack.
    """
    file = load_model(StackFile, stack_file(root, stack))
    (orchestrator,) = file.components.get("orchestrator", ())[:1] or (None,)
    flavor = orchestrator.flavor if orchestrator else "none"
    if flavor not in _CLOCKS or orchestrator is None:
        has = "has a clock that assay doesn't know" if flavor in SCHEDULING else "has no clock"
        what = f"the orchestrator of stack '{stack}' ({flavor}) {has}; known are {', '.join(_CLOCKS)}"
        raise ConfigError(what, where="--on", hint=f"--on {SCHEDULER}: assay's own fires runs on every stack")
    module, _, name = _CLOCKS[flavor].rpartition(".")
    configuration = {k: v for k, v in filled(orchestrator.configuration, environment).items() if v != ""}
    made: Service = getattr(import_module(module), name)(root, owner_of(root), configuration, stack)
    return made


def check_native(schedule: Schedule, service: Service, now: datetime) -> Spec:
    """The native schedule as it would be made, checked; nothing is made.

    Raises:
        ConfigError: the service can't keep what the schedule promises, or something isn't set.
    """
    check_kept(schedule, service.keeps, service.label, now)
    return service.wanted(schedule, False)


def owner_of(root: Path) -> str:
    """What tells this state folder's native schedules from those of others; made once."""
    file = schedules_folder(root) / "owner"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(file, f"{uuid4().hex}\n")
    return file.read_text(encoding="utf-8").strip()


def keep_made(root: Path, name: str, spec: Spec) -> None:
    """Note what was made of a schedule."""
    _file(root, name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(_file(root, name), json.dumps(spec, indent=1, sort_keys=True))


def made_of(root: Path, name: str) -> Spec | None:
    """What was made of a schedule; None: nothing that is known."""
    if not _file(root, name).is_file():
        return None
    found: Spec = json.loads(_file(root, name).read_text(encoding="utf-8"))
    return found


def forget_made(root: Path, name: str) -> None:
    """Forget it."""
    _file(root, name).unlink(missing_ok=True)


def _file(root: Path, name: str) -> Path:
    return schedules_folder(root) / "native" / f"{name}.json"


def drift(root: Path, schedule: Schedule, service: Service) -> list[str]:
    """What its service says otherwise than was told to it.

    Raises:
        ServiceError: it doesn't answer.
    """
    made = made_of(root, schedule.name)
    if made is None:
        return ["nothing was made of it there yet: assay schedule edit makes it"]
    found = service.found(made)
    if found is None:
        return [f"{service.label}: it is gone there; assay schedule edit {schedule.name} makes it anew"]
    return list(differences(made, found))
