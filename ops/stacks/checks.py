"""What of an infra file a stack can't give, known from the files alone."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ops.infra import BOUND, InfraConfig
from ops.stacks.files import StackFile
from ops.step_environment import unset

# Orchestrators of ZenML 0.98 that start runs by a clock of their own. `assay scheduler` does it for the others.
SCHEDULING = ("airflow", "azureml", "databricks", "hyperai", "kubeflow", "kubernetes", "sagemaker", "vertex")


@dataclass(frozen=True)
class Misfit:
    """`stops`: a run would end with an error; otherwise it gets less than the file asks for."""

    what: str
    stops: bool = True


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
    told: dict[str, list[str]] = {}
    for step in present:
        for kind in BOUND:
            name = getattr(infra.of(step), kind)
            if name and name not in flavors.get(kind, {}):
                told.setdefault(_absent(kind, name, stack, flavors), []).append(step)
    for what, bound in told.items():
        yield Misfit(f"{', '.join(bound)}: {what}")
    for what in infra.ignored(present, flavors):
        yield Misfit(what, stops=False)


def _absent(kind: str, name: str, stack: StackFile, flavors: Mapping[str, Mapping[str, str]]) -> str:
    known = sorted(flavors.get(kind, {}))
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
    return f"stack '{stack.stack_name}' has no {kind} {name!r}; {meant}"
