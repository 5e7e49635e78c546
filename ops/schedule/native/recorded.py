"""Services that can only start a pipeline which they recorded: ZenML's snapshot, whose first step finds out everything
that a launcher would have said.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.schedule.native.service import Spec
from ops.schedule.schedule import Schedule
from steps.zenml_runtime.commit import commit_of

# Of a schedule what decides the recorded pipeline: what runs, and what tells a run's slot from its start.
_DECIDES = {"name", "config", "cron", "tz", "infra", "stack", "overrides", "on"}


def spec_of(root: Path, schedule: Schedule, native: Mapping[str, Any]) -> Spec:
    """A native schedule beside what it was recorded for, and from which commit: the code is recorded, too."""
    said = schedule.model_dump(mode="json", include=_DECIDES)
    return {"native": dict(native), "recorded": said, "commit": commit_of(root)}


def to_record(root: Path, spec: Spec) -> bool:
    """Whether the pipeline that is there is another one than this schedule wants."""
    from ops.schedule.native.registry import made_of

    made = made_of(root, spec["recorded"]["name"])
    return made is None or any(made[k] != spec[k] for k in ("recorded", "commit"))


def recorded(root: Path, spec: Spec, native_cron: str, name: str) -> Mapping[str, Any]:
    """Have the service record the pipeline; returns what ZenML notes of its schedule. `name`: ZenML's for it."""
    from zenml.client import Client

    from ops.run import record

    schedule = Schedule.model_validate(spec["recorded"])
    known = record(root, schedule, native_cron, name)
    found: Mapping[str, Any] = Client().get_schedule(known).run_metadata
    return found
