"""`apply` makes ZenML's store say what a stack's file says: what the file dropped goes, nothing else is touched."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ops.stacks.declaration import LOCAL_STORE, Declaration, Declared, declaration
from ops.stacks.secrets import remove_secret, stale_keys, write_secret
from steps.contracts.errors import InputNotFoundError
from steps.contracts.storage import writing

# Chosen: between applying a stack and the first sign of a run on it lie seconds.
_LATELY = timedelta(hours=1)


@dataclass(frozen=True)
class Applied:
    """A stack as ZenML's store now has it.

    Attributes:
        name: that of the file.
        changes: what had to be made or changed; empty when nothing.
        names, flavors: by component type, what each component of the file is called in ZenML's store, and its flavour.
    """

    id: str
    name: str
    artifact_store: str
    changes: tuple[str, ...]
    names: Mapping[str, Mapping[str, str]]
    flavors: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class _Found:
    """A declared component beside what ZenML's store has of it (a ComponentResponse; None: nothing).

    Attributes:
        stale: the configuration that isn't as declared; None takes a key away.
        secrets: values of its ZenML secret that aren't as declared; None takes a key away.
    """

    declared: Declared
    current: Any
    stale: Mapping[str, Any]
    secrets: Mapping[str, str | None]

    @property
    def label(self) -> str:
        return f"{self.declared.kind} '{self.declared.name}'"

    def changes(self) -> Iterator[str]:
        """What has to be done, for people; never a secret's value."""
        if self.current is None:
            yield f"made {self.label} ({self.declared.flavor})"
        for key in sorted(self.stale):
            yield f"{self.label}: {key} {'removed' if self.stale[key] is None else 'changed'}"
        for key in sorted(self.secrets):
            yield f"{self.label}: secret {key} {'removed' if self.secrets[key] is None else 'stored'}"


@dataclass(frozen=True)
class _Difference:
    """What stands between a declaration and ZenML's store.

    Attributes:
        stack: ZenML's (StackResponse); None: there is none.
        dropped: components that the stack has and the file doesn't (ComponentResponse).
    """

    declared: Declaration
    stack: Any
    found: tuple[_Found, ...]
    dropped: tuple[Any, ...]

    def changes(self) -> tuple[str, ...]:
        """What has to be done, for people."""
        lines = [line for found in self.found for line in found.changes()]
        if self.stack is None:
            lines.append(f"made stack '{self.declared.name}'")
        elif self.recomposed:
            lines.append(f"stack '{self.declared.name}': components changed")
        lines += [f"{c.type.value} '{c.name}' dropped" for c in self.dropped]
        return tuple(lines)

    @property
    def recomposed(self) -> bool:
        """Whether a stack that is there has other components."""
        ids = {str(c.id) for components in self.stack.components.values() for c in components}
        return ids != {str(f.current.id) if f.current else "" for f in self.found}


def apply(path: Path, environment: Mapping[str, str]) -> Applied:
    """Make or update the stack and its components; does nothing when they are as declared.

    Raises:
        ConfigError: there is something in the file that ZenML would refuse, or an artifact store would lose its
            artifacts; nothing is written then. StorageError: a local artifact store can't be made.
    """
    difference = _difference(_declared(path, environment))
    for found in difference.found:
        _make_folder(found.declared)
    ids: dict[str, list[Any]] = {}
    for found in difference.found:
        ids.setdefault(found.declared.kind, []).append(_write_component(found))
    stack = _write_stack(difference, ids)
    _remove_unused(difference.dropped)
    if difference.stack is None and is_shared():
        _remove_outdated(difference.declared, stack.id)
    declared = difference.declared
    names, flavors = (_by_name(declared, what) for what in ("stored", "flavor"))
    return Applied(str(stack.id), declared.name, _path_of(declared), difference.changes(), names, flavors)


def differences(path: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What `apply` would change; nothing is written.

    Raises:
        ConfigError: as `apply`.
    """
    return _difference(_declared(path, environment)).changes()


def remove(name: str, path: Path | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Take a stack, its secrets and the components that no other stack has out of ZenML's store. An artifact store that
    holds artifacts stays, and so does what lies in it. Returns what was done.

    `path`: the stack's file, None where that is gone. Where others have stacks in the same store, the file says which
    one is this user's.

    Raises:
        InputNotFoundError: ZenML's store has no such stack.
    """
    from zenml.client import Client

    from steps.zenml_runtime.database import open_store

    open_store()
    stored = _declared(path, environment, libraries=False).stored if is_shared() and path is not None else name
    found = Client().list_stacks(name=f"equals:{stored}").items
    if not found:
        raise InputNotFoundError(
            f"ZenML's store has no stack '{stored}'", where=name, hint="there is nothing to remove"
        )
    components = [c for components in found[0].components.values() for c in components]
    if Client().active_stack_model.id == found[0].id:
        Client().activate_stack("default")
    Client().zen_store.delete_stack(found[0].id)
    return (f"removed stack '{stored}'", *_remove_unused(components))


def is_shared() -> bool:
    """Whether others may declare stacks in the same store of ZenML: it isn't a file of this state folder's own."""
    from steps.zenml_runtime.database import local_database

    return local_database() is None


def _declared(path: Path, environment: Mapping[str, str], *, libraries: bool = True) -> Declaration:
    from steps.zenml_runtime.database import open_store

    open_store()
    return declaration(path, environment, shared=is_shared(), libraries=libraries)


def _difference(declared: Declaration) -> _Difference:
    """What is to be done.

    Raises:
        ConfigError: a component can't become what is declared; all of them at once.
    """
    from zenml.client import Client

    stacks = Client().list_stacks(name=f"equals:{declared.stored}").items
    stack = stacks[0] if stacks else None
    found = tuple(_found(component) for component in declared.components)
    refused = {f.declared.place: [why] for f in found if f.current is not None and (why := _refusal(f))}
    if refused:
        raise declared.mistake(refused)
    kept = {str(f.current.id) for f in found if f.current is not None}
    had = [c for components in stack.components.values() for c in components] if stack else []
    return _Difference(declared, stack, found, tuple(c for c in had if str(c.id) not in kept))


def _found(declared: Declared) -> _Found:
    from zenml.client import Client
    from zenml.enums import StackComponentType

    kind = StackComponentType(declared.kind)
    listed = Client().list_stack_components(type=kind, name=f"equals:{declared.stored}").items
    current = listed[0] if listed else None
    stale: dict[str, Any] = {}
    if current is not None and current.flavor_name == declared.flavor:
        has, wants = dict(current.configuration), declared.configuration
        stale = {k: wants.get(k) for k in has.keys() | wants.keys() if has.get(k) != wants.get(k)}
    secrets = stale_keys(declared.secret, declared.secrets) if declared.secrets or current is not None else {}
    return _Found(declared, current, stale, secrets)


def _refusal(found: _Found) -> str:
    """Why a component that is there can't become what is declared; "" when it can."""
    declared, current = found.declared, found.current
    if current.flavor_name != declared.flavor:
        return f"ZenML's store has a {found.label} of flavour {current.flavor_name!r}; give this one another name"
    if declared.kind != "artifact_store" or "path" not in found.stale:
        return ""
    before, now = str(current.configuration.get("path")), declared.configuration.get("path")
    # A folder that was moved, with all that lies in it, is what a local store's other path means.
    moved = (declared.kind, declared.flavor) == LOCAL_STORE and not Path(before).exists()
    if moved or not _holds_artifacts(current.id):
        return ""
    return (
        f"{found.label} holds artifacts in {before}, and would lose them when its path became {now}; give it another"
        " name here (the artifacts stay where they are, and readable), or set the path back"
    )


def _holds_artifacts(store: Any) -> bool:
    from zenml.client import Client

    return bool(Client().list_artifact_versions(artifact_store_id=store, size=1).total)


def _make_folder(declared: Declared) -> None:
    if (declared.kind, declared.flavor) == LOCAL_STORE:
        folder = Path(declared.configuration["path"])
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)


def _write_component(found: _Found) -> Any:
    """Make it what is declared; returns its id."""
    from zenml.client import Client
    from zenml.enums import StackComponentType

    declared, kind = found.declared, StackComponentType(found.declared.kind)
    if found.secrets:
        write_secret(declared.secret, found.secrets)
    if found.current is None:
        return _made(
            lambda: Client().create_stack_component(
                name=declared.stored,
                flavor=declared.flavor,
                component_type=kind,
                configuration={**declared.configuration},
            ),
            lambda: Client().list_stack_components(type=kind, name=f"equals:{declared.stored}").items,
        ).id
    if found.stale:
        Client().update_stack_component(found.current.id, kind, configuration=dict(found.stale))
    return found.current.id


def _made(make: Callable[[], Any], look: Callable[[], Any]) -> Any:
    """What `make` makes, or what another launcher made of the same declaration in the same moment."""
    from zenml.exceptions import EntityExistsError

    try:
        return make()
    # Of two that are made in the same moment the server's database refuses one, which the server tells as this.
    except (EntityExistsError, RuntimeError):
        listed = look()
        if not listed:
            raise
        return listed[0]


def _write_stack(difference: _Difference, ids: Mapping[str, list[Any]]) -> Any:
    from zenml.client import Client
    from zenml.enums import StackComponentType

    client, stored = Client(), difference.declared.stored
    components = {StackComponentType(kind): found for kind, found in ids.items()}
    if difference.stack is None:
        return _made(
            lambda: client.create_stack(name=stored, components=components, labels=_made_by(difference.declared)),
            lambda: client.list_stacks(name=f"equals:{stored}").items,
        )
    if not difference.recomposed:
        return difference.stack
    gone: dict[Any, list[Any]] = {kind: [] for kind in difference.stack.components if kind not in components}
    return client.update_stack(difference.stack.id, component_updates={**components, **gone})


def _made_by(declared: Declaration) -> dict[str, str]:
    """What a stack is labelled with: the name of its file, and the state folder that it was applied from."""
    from zenml.config.global_config import GlobalConfiguration

    return {"assay_stack": declared.name, "assay_state": str(GlobalConfiguration().user_id)}


def _remove_outdated(declared: Declaration, current: Any) -> None:
    """Where a stack's name tells what it is made of, an edited file makes another one: remove those that this state
    folder made of it before and that no run was on. One that had runs stays as what these ran on.

    Somebody else's run may be on its way on a stack of the same declaration: none is removed that was made lately.
    """
    from zenml.client import Client
    from zenml.utils.time_utils import utc_now

    client, mine = Client(), _made_by(declared)
    for listed in client.list_stacks(name=f"startswith:{declared.name}-", size=200).items:
        stack = client.get_stack(listed.id)
        is_mine = {k: (stack.labels or {}).get(k) for k in mine} == mine
        if stack.id == current or not is_mine or utc_now() - stack.created.replace(tzinfo=None) < _LATELY:
            continue
        if not client.list_pipeline_runs(stack_id=stack.id, size=1).total:
            components = [c for found in stack.components.values() for c in found]
            client.zen_store.delete_stack(stack.id)
            _remove_unused(components)


def _remove_unused(components: Sequence[Any]) -> list[str]:
    """Remove components that no stack has any more, with their secrets. Returns what was done."""
    from zenml.client import Client

    client, lines = Client(), []
    for component in components:
        label = f"{component.type.value} '{component.name}'"
        if client.list_stacks(component_id=component.id, size=1).total:
            continue
        if component.type.value == "artifact_store" and _holds_artifacts(component.id):
            lines.append(f"kept {label}: it holds artifacts")
            continue
        client.zen_store.delete_stack_component(component.id)
        remove_secret(f"assay-{component.type.value}-{component.name}")
        lines.append(f"removed {label}")
    return lines


def _by_name(declared: Declaration, what: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for component in declared.components:
        found.setdefault(component.kind, {})[component.name] = getattr(component, what)
    return found


def _path_of(declared: Declaration) -> str:
    return str(declared.of("artifact_store")[0].configuration.get("path") or "")
