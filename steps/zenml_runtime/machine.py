"""The machine that steps run on, and what is installed there."""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zenml import log_metadata
from zenml.steps import get_step_context

from steps.contracts.provenance import Machine
from steps.zenml_runtime.light_start import installed
from steps.zenml_runtime.local_store import runs_in_one_process

# Its entry in a step's metadata, where each step has a machine of its own.
MACHINE = "machine"


def this_machine() -> Machine:
    """The machine and the interpreter of this process."""
    return Machine(
        system=f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}".strip(", "),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        accelerators=_accelerators(),
        image=os.environ.get("ASSAY_IMAGE", ""),
    )


def note_machine() -> None:
    """Keep with the running step where it ran, unless all steps run where the last one does."""
    context = get_step_context()
    if not runs_in_one_process(context.pipeline_run):
        log_metadata({MACHINE: this_machine().model_dump(mode="json")}, step_id=context.step_run.id)


def machines_of(steps: Mapping[str, Any]) -> dict[str, Machine]:
    """By name of the step where it ran, for those that noted it (ZenML's StepRunResponse)."""
    said = {name: step.run_metadata.get(MACHINE) for name, step in steps.items()}
    return {name: Machine.model_validate(value) for name, value in sorted(said.items()) if value}


def installed_packages() -> dict[str, str]:
    """Version by name of every distribution that can be imported here: what a lock file of it would say."""
    return dict(line.split("==", 1) for line in installed())


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _accelerators() -> tuple[str, ...]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
