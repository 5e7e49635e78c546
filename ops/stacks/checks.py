"""What of an infra file a stack can't give, known from the files alone."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ops.infra import BOUND, InfraConfig, kind_of
from ops.stacks.files import StackFile
from ops.step_environment import unset
from pipelines.mistakes import KeyPath

# Orchestrators of ZenML 0.98 that start runs by a clock of their own. `assay scheduler` does it for the others.
SCHEDULING = ("airflow", "azureml", "databricks", "hyperai", "kubeflow", "kubernetes", "sagemaker", "vertex")


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


def _absent(kind: str, name: str, stack: StackFile, flavors: Mapping[str, Mapping[str, str]]) -> str:
    known = sorted(flavors.get(kind, {}))
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
    return f"stack '{stack.stack_name}' has no {kind} {name!r}; {meant}"
