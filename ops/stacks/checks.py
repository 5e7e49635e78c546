"""What of an infra file a stack can't give, known from the files alone."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.infra import BOUND, InfraConfig, kind_of
from ops.stacks.files import StackFile
from ops.step_environment import unset
from steps.engines.yaml_lines.parse import KeyPath
from steps.zenml_runtime.state import state_location

# Orchestrators of ZenML 0.98 that start runs by a clock of their own. `assay scheduler` does it for the others.
SCHEDULING = ("airflow", "azureml", "databricks", "hyperai", "kubeflow", "kubernetes", "sagemaker", "vertex")
# File systems that machines share, by the names that Linux mounts them under.
_SHARED = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "lustre", "gpfs", "ceph", "fuse.ceph", "beegfs", "glusterfs",
    "fuse.glusterfs", "fuse.juicefs", "orangefs", "wekafs", "afs", "gfs2", "ocfs2",
})  # fmt: skip


@dataclass(frozen=True)
class Misfit:
    """`stops`: a run would end with an error; otherwise it gets less than the file asks for. `place`: in the file."""

    what: str
    stops: bool = True
    place: KeyPath = ()


def flavors_of(stack: StackFile) -> dict[str, dict[str, str]]:
    """By component type and name."""
    return {kind: {c.name: c.flavor for c in components} for kind, components in stack.components.items()}


def misfits(
    infra: InfraConfig, stack: StackFile, steps: Iterable[str], environment: Mapping[str, str]
) -> Iterator[Misfit]:
    """All that doesn't fit. `steps`: those that the run has."""
    flavors, present = flavors_of(stack), list(steps)
    for name in unset(infra, environment):
        yield Misfit(f"steps need the environment variable {name}; export {name}=...")
    for step in present:
        for kind in BOUND:
            name = getattr(infra.of(step), kind)
            if name and name not in flavors.get(kind, {}):
                told = f"{step}: {_absent(kind, name, stack, flavors)}"
                yield Misfit(told, place=("steps", step if step in infra.steps else kind_of(step), kind))
    for what in infra.ignored(present, flavors):
        yield Misfit(what, stops=False)


def joining(infra: InfraConfig, steps: Iterable[str]) -> Iterator[Misfit]:
    """What several machines need to train together, for each kind of step that has them."""
    kinds = dict.fromkeys(step if step in infra.steps else kind_of(step) for step in steps)
    for kind in kinds:
        training = infra.of(kind).training
        if training is None or training.nodes == 1:
            continue
        others = training.nodes - 1
        where, system = state_location(), file_system(state_location())
        alone = (
            ""
            if system is None or system in _SHARED
            else f", on {system}, which is one machine's alone unless exported"
        )
        yield Misfit(
            f"{training.nodes} machines train together: run `assay join` on {others} other{'s' if others > 1 else ''},"
            f" where the state folder must be the same one by the same path ({where}{alone})",
            stops=False,
            place=("steps", kind, "training", "nodes"),
        )  # fmt: skip


def file_system(folder: Path) -> str | None:
    """The type of the file system that a folder lies on, or would; None: not known."""
    import psutil

    mounts = {Path(p.mountpoint): str(p.fstype) for p in psutil.disk_partitions(all=True)}
    return next((mounts[above] for above in (folder, *folder.parents) if above in mounts), None)


def _absent(kind: str, name: str, stack: StackFile, flavors: Mapping[str, Mapping[str, str]]) -> str:
    known = sorted(flavors.get(kind, {}))
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
    return f"stack '{stack.stack_name}' has no {kind} {name!r}; {meant}"
