"""Whether a stack can be used as it stands: its parts fit, and its artifact store takes a file and gives it back."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

from ops.stacks.declaration import Declaration, Declared
from steps.contracts.errors import ConfigError, ServiceError

R = TypeVar("R")
# Chosen: a service in another part of the world answers sooner; one that doesn't is waited for no longer, in seconds.
PATIENCE = 30.0
_REMOTE = "its steps run where the ZenML store in the state folder can't be reached"
REMOTE_FIX = "set ZENML_STORE_URL to a ZenML server that they reach, after `assay zenml login`"


def check_usable(stack: Any) -> None:
    """Before a run is submitted. `stack`: ZenML's (Stack).

    Raises:
        ConfigError: its parts don't fit. ServiceError: the artifact store doesn't take a file, or doesn't give it back.
    """
    if why := server_trouble(stack):
        raise ConfigError(f"stack '{stack.name}': {why}", hint=REMOTE_FIX)
    if why := misfit(stack):
        raise ConfigError(f"stack '{stack.name}': {why}", hint="mend its file in .zenml/stacks")
    store = stack.artifact_store
    if not store.config.is_local and (why := store_trouble(store)):
        hint = f"`assay stack doctor {stack.name}` tells of all that is missing"
        raise ServiceError(f"the artifact store can't be used: {why}", where=str(store.path), hint=hint)


def in_memory(declared: Declaration) -> Any:
    """ZenML's stack (Stack) as it would be after `apply`; nothing of it is stored.

    Raises:
        ImportError: a flavour's library isn't installed.
    """
    from zenml.stack import Stack

    made: dict[str, Any] = {}
    for component in declared.components:
        made.setdefault(component.kind, []).append(_component(component))
    several = {"step_operator", "experiment_tracker", "alerter", "sandbox"}
    parts = {kind: found if kind in several else found[0] for kind, found in made.items()}
    return Stack(uuid4(), declared.name, **parts)


def _component(declared: Declared) -> Any:
    """Secrets stand in it as they are: there may be none in ZenML's store yet."""
    from zenml.client import Client
    from zenml.enums import StackComponentType
    from zenml.stack.flavor import Flavor
    from zenml.utils.time_utils import utc_now

    kind = StackComponentType(declared.kind)
    flavor = Flavor.from_model(Client().get_flavor_by_name_and_type(name=declared.flavor, component_type=kind))
    plain = {k: v for k, v in declared.secrets.items() if k in declared.configuration}
    config = flavor.config_class(**{**declared.configuration, **plain})
    now, user = utc_now(), Client().active_user.id
    return flavor.implementation_class(
        name=declared.stored, id=uuid4(), config=config, flavor=declared.flavor, type=kind, user=user, created=now,
        updated=now,
    )  # fmt: skip


def server_trouble(stack: Any) -> str:
    """Why the stack's steps couldn't tell what they did; "" when they can."""
    from zenml.client import Client

    return _REMOTE if stack.requires_remote_server and Client().zen_store.is_local_store() else ""


def misfit(stack: Any) -> str:
    """What ZenML says against the stack's composition; "" when nothing."""
    from zenml.exceptions import StackValidationError

    try:
        stack.validate()
    except (StackValidationError, ValueError, RuntimeError) as e:
        return str(e)
    return ""


def store_trouble(store: Any) -> str:
    """What goes wrong when a file of some bytes is written, read back and deleted; "" when nothing does."""
    path = f"{str(store.path).rstrip('/')}/.assay-{uuid4().hex}"
    word = uuid4().bytes

    def write() -> None:
        with store.open(path, "wb") as f:
            f.write(word)

    def read() -> bytes:
        with store.open(path, "rb") as f:
            return bytes(f.read())

    if why := _failed(write):
        return f"nothing can be written: {why}"
    found: list[bytes] = []
    if why := _failed(lambda: found.append(read())):
        return f"what was written can't be read ({path}): {why}"
    if found != [word]:
        return f"what was written comes back otherwise ({path})"
    why = _failed(lambda: store.remove(path))
    return f"what was written can't be deleted ({path}): {why}" if why else ""


def _failed(call: Callable[[], object]) -> str:
    try:
        within(PATIENCE, call)
    except Exception as e:  # noqa: BLE001 - whatever a service's library raises is what is to be told
        return told(e)
    return ""


def told(error: BaseException) -> str:
    """An error in one line."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {first[:300]}"


def within(seconds: float, call: Callable[[], R]) -> R:
    """What `call` returns or raises.

    Raises:
        TimeoutError: nothing, for so long; it is left to itself.
    """
    done: list[R] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(call())
        except BaseException as e:  # noqa: BLE001 - raised again by the caller's thread
            failed.append(e)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return done[0]
