"""Stacks as files: `.zenml/stacks/NAME.yaml` is what a stack is, `apply` makes ZenML's store say the same.

The format is that of `zenml stack export`, with two liberties: `zenml_version` may be left out, and `${NAME}` in a
configuration value stands for an environment variable.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ops.environment import REPOSITORY_FOLDER
from pipelines.load import load_model
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.reports import Frozen
from steps.contracts.storage import STATE, writing

_VARIABLE = re.compile(r"\$\{(\w+)\}")


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
    components: dict[str, tuple[Component, ...]]


@dataclass(frozen=True)
class Applied:
    """A stack as ZenML's store now has it. `changes` says what had to be made or changed; empty when nothing."""

    id: str
    name: str
    artifact_store: str
    changes: tuple[str, ...]


def stack_file(root: Path, name: str) -> Path:
    """The file that declares a stack.

    Raises:
        InputNotFoundError: there is none; the error lists the declared ones.
    """
    folder = root / REPOSITORY_FOLDER / "stacks"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise InputNotFoundError(
            f"no stack '{name}' is declared",
            where=str(folder),
            hint=f"declared stacks: {known}; add {path.name} for a new one",
        )
    return path


def apply(path: Path, environment: dict[str, str]) -> Applied:
    """Make or update the stack and its components; does nothing when they are as declared.

    Raises:
        ConfigError: a variable isn't set, or ZenML refuses a component. StorageError: a local artifact store can't be
            made.
    """
    from zenml.enums import StackComponentType

    from steps.zenml_runtime.database import open_store

    declared = load_model(StackFile, path)
    client = open_store()
    changes: list[str] = []
    ids: dict[StackComponentType, list[Any]] = {}
    for kind_name, components in declared.components.items():
        kind = StackComponentType(kind_name)
        for component in components:
            values = {k: _fill(v, environment, path) for k, v in component.configuration.items()}
            if kind == StackComponentType.ARTIFACT_STORE and component.flavor == "local":
                values["path"] = _real_folder(values["path"])
            ids.setdefault(kind, []).append(_apply_component(client, kind, component, values, changes))
    stack_id = _apply_stack(client, declared.stack_name, ids, changes)
    store = client.get_stack(stack_id).components[StackComponentType.ARTIFACT_STORE][0]
    return Applied(str(stack_id), declared.stack_name, str(store.configuration.get("path") or ""), tuple(changes))


def missing_variables(path: Path, environment: Mapping[str, str]) -> list[str]:
    """Environment variables that a stack's file names and that aren't set."""
    declared = load_model(StackFile, path)
    values = [c.configuration for components in declared.components.values() for c in components]
    # The state folder's is set by the command itself.
    return [n for n in dict.fromkeys(_VARIABLE.findall(str(values))) if n not in environment and n != STATE]


def runs_elsewhere(path: Path) -> bool:
    """Whether a stack's steps run on other machines than the one that starts them."""
    orchestrators = load_model(StackFile, path).components.get("orchestrator", ())
    return any(component.flavor != "local" for component in orchestrators)


def _real_folder(path: str) -> str:
    """The folder without links, made: ZenML follows links in what it stores, and then misses it below the link."""
    folder = Path(path)
    with writing(folder):
        folder.resolve().mkdir(parents=True, exist_ok=True)
    return str(folder.resolve())


def _fill(value: Any, environment: dict[str, str], path: Path) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, environment, path) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    missing = [n for n in _VARIABLE.findall(value) if n not in environment]
    if missing:
        raise ConfigError(
            f"this stack needs the environment variable {missing[0]}", where=str(path), hint=f"export {missing[0]}=..."
        )
    return _VARIABLE.sub(lambda m: environment[m.group(1)], value)


def _apply_component(client: Any, kind: Any, declared: Component, values: dict[str, Any], changes: list[str]) -> Any:
    found = client.list_stack_components(type=kind, name=f"equals:{declared.name}").items
    label = f"{kind.value} '{declared.name}'"
    if not found:
        created = client.create_stack_component(
            name=declared.name, flavor=declared.flavor, component_type=kind, configuration=values
        )
        changes.append(f"made {label} ({declared.flavor})")
        return created.id
    current = found[0]
    if current.flavor_name != declared.flavor:
        raise ConfigError(
            f"{label} exists with flavor {current.flavor_name}, declared is {declared.flavor}",
            where="stack",
            hint="give the declared component another name",
        )
    stale = {k: v for k, v in values.items() if current.configuration.get(k) != v}
    if stale:
        client.update_stack_component(current.id, kind, configuration=stale)
        changes.extend(f"{label}: {k} changed" for k in sorted(stale))
    return current.id


def _apply_stack(client: Any, name: str, ids: dict[Any, list[Any]], changes: list[str]) -> Any:
    found = client.list_stacks(name=f"equals:{name}").items
    if not found:
        changes.append(f"made stack '{name}'")
        return client.create_stack(name=name, components=ids).id
    current = {kind: sorted(str(c.id) for c in cs) for kind, cs in found[0].components.items() if kind in ids}
    if current != {kind: sorted(str(i) for i in new) for kind, new in ids.items()}:
        client.update_stack(found[0].id, component_updates=ids)
        changes.append(f"stack '{name}': components changed")
    return found[0].id
