"""Stacks as files: `.zenml/stacks/NAME.yaml` is what a stack is.

The format is that of `zenml stack export`, with liberties: `zenml_version` may be left out; `evidence`, `proof` and
`extras` say what is known of the stack and what it takes; and in a configuration value

- `${NAME}` stands for an environment variable, `${NAME:-default}` for one that may be missing; a key whose value is
  empty then is left out;
- `${secret:NAME}` stands for one whose value is a secret: it goes into ZenML's secret store, and the component refers
  to it; where the variable isn't set what is stored is kept. In a field that the flavour itself marks as a secret,
  `${NAME}` means the same; under `authentication_secret`, which names a ZenML secret, the keys of one may stand
  instead.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ops.environment import REPOSITORY_FOLDER
from pipelines.load import load_model
from steps.contracts.errors import InputNotFoundError
from steps.contracts.reports import Frozen
from steps.contracts.storage import STATE
from steps.zenml_runtime.state import DRIVEN, ON_THIS_MACHINE

# What stands for an environment variable: whether it is a secret, its name, what it is where it isn't set.
VARIABLE = re.compile(r"\$\{(secret:)?(\w+)(?::-([^}]*))?\}")
Evidence = Literal["run", "submitted", "validated"]


class Component(Frozen):
    """One component of a stack."""

    name: str
    flavor: str
    type: str | None = None
    configuration: dict[str, Any] = Field(default_factory=dict)


class StackFile(Frozen):
    """A declared stack."""

    stack_name: str
    zenml_version: str | None = None
    evidence: Evidence | None = Field(
        None,
        description="what was seen of this stack: run: steps were executed on it; submitted: an emulator or the"
        " service's schema accepted its jobs, whose commands were executed; validated: ZenML's flavours accept its"
        " configuration",
    )
    proof: str | None = Field(None, description="what shows it: a test, and what that leaves open")
    extras: tuple[str, ...] = Field((), description="extras of pyproject.toml with the libraries of its flavours")
    components: dict[str, tuple[Component, ...]]


def stacks_folder(root: Path) -> Path:
    """Where stacks are declared."""
    return root / REPOSITORY_FOLDER / "stacks"


def declared_stacks(root: Path) -> list[str]:
    """Names of the declared stacks."""
    return sorted(p.stem for p in stacks_folder(root).glob("*.yaml"))


def stack_file(root: Path, name: str) -> Path:
    """The file that declares a stack.

    Raises:
        InputNotFoundError: there is none; the error lists the declared ones.
    """
    folder = stacks_folder(root)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(declared_stacks(root)) or "none"
        raise InputNotFoundError(
            f"no stack '{name}' is declared",
            where=str(folder),
            hint=f"declared stacks: {known}; add {path.name} for a new one",
        )
    return path


def variables(value: Any) -> Iterator[tuple[str, bool]]:
    """Environment variables that a value names, also in lists and mappings, and whether each must be set: a secret need
    not, since its value may be stored.
    """
    if isinstance(value, dict):
        for inner in value.values():
            yield from variables(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from variables(inner)
    elif isinstance(value, str):
        yield from ((m.group(2), m.group(3) is None and not m.group(1)) for m in VARIABLE.finditer(value))


def filled(value: Any, environment: Mapping[str, str]) -> Any:
    """A value with variables filled in, also in lists and mappings; what isn't set and has no default is left out."""
    if isinstance(value, dict):
        return {k: filled(v, environment) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [filled(v, environment) for v in value]
    if not isinstance(value, str):
        return value
    return VARIABLE.sub(lambda m: environment.get(m.group(2)) or m.group(3) or "", value)


def missing_variables(path: Path, environment: Mapping[str, str]) -> list[str]:
    """Environment variables that a stack's file needs and that aren't set."""
    declared = load_model(StackFile, path)
    values = [c.configuration for components in declared.components.values() for c in components]
    needed = dict.fromkeys(name for name, must in variables(values) if must)
    # The state folder's is set by the command itself.
    return [n for n in needed if n not in environment and n != STATE]


def orchestrator_flavor(path: Path) -> str:
    """Flavour of a stack's orchestrator; "" when the file names none."""
    orchestrators = load_model(StackFile, path).components.get("orchestrator", ())
    return next((component.flavor for component in orchestrators), "")


def goes_on_alone(path: Path) -> bool:
    """Whether a run of this stack goes on when the process that launched it ends."""
    orchestrators = load_model(StackFile, path).components.get("orchestrator", ())
    return any(component.flavor not in DRIVEN for component in orchestrators)


def runs_elsewhere(path: Path) -> bool:
    """Whether a stack's steps run on other machines than the one that starts them."""
    orchestrators = load_model(StackFile, path).components.get("orchestrator", ())
    return any(component.flavor not in ON_THIS_MACHINE for component in orchestrators)
