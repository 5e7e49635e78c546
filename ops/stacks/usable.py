"""Whether a stack can be used as it stands: its parts fit, its artifact store takes a file and gives it back, and its
experiment tracker answers.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from ops.stacks.declaration import Declaration, Declared
from steps.contracts.errors import ConfigError, ServiceError
from steps.engines.tracking.secrets import without_secret

R = TypeVar("R")
# Chosen: a service in another part of the world answers sooner; one that doesn't is waited for no longer, in seconds.
PATIENCE = 30.0
# An answer that needs MLflow's credentials and its database.
_SEARCH = "/api/2.0/mlflow/experiments/search"
# Chosen: of one server for one experiment, in seconds.
_ANSWER = 10.0
_REMOTE = "its steps run where the ZenML store in the state folder can't be reached"
REMOTE_FIX = "set ZENML_STORE_URL to a ZenML server that they reach, after `assay zenml login`"


def check_usable(stack: Any, tracked_at: Sequence[str] = ()) -> None:
    """Before a run is submitted. `stack`: ZenML's (Stack). `tracked_at`: URIs of the MLflows that the run needs.

    Raises:
        ConfigError: its parts don't fit. ServiceError: the artifact store doesn't take a file, or doesn't give it back;
            an MLflow server doesn't answer, or doesn't know our credentials.
    """
    if why := server_trouble(stack):
        raise ConfigError(f"stack '{stack.name}': {why}", hint=REMOTE_FIX)
    if why := misfit(stack):
        raise ConfigError(f"stack '{stack.name}': {why}", hint="mend its file in .zenml/stacks")
    store = stack.artifact_store
    if not store.config.is_local and (why := store_trouble(store)):
        hint = f"`assay stack doctor {stack.name}` tells of all that is missing"
        raise ServiceError(f"the artifact store can't be used: {why}", where=str(store.path), hint=hint)
    for uri in tracked_at:
        own = stack.experiment_tracker
        is_own = own is not None and own.flavor == "mlflow" and uri == own.get_tracking_uri()
        if why := tracker_trouble(uri, own if is_own else None):
            hint = "start it, or renew what MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_PASSWORD say, or the stack's file"
            raise ServiceError(f"the experiment tracker can't be used: {why}", where=without_secret(uri), hint=hint)


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


def tracker_trouble(uri: str, tracker: Any = None) -> str:
    """What is wrong with an MLflow server, asked with the credentials that a run has; "" when nothing, or no server.

    `tracker`: the stack's component, whose credentials come before those of the environment.
    """
    if not uri.startswith(("http://", "https://")):
        return ""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request_safe

    said = {} if tracker is None else {
        "username": tracker.config.tracking_username, "password": tracker.config.tracking_password,
        "token": tracker.config.tracking_token, "ignore_tls_verification": tracker.config.tracking_insecure_tls,
    }  # fmt: skip
    credentials = get_default_host_creds(uri)
    for name, value in said.items():
        if value:
            setattr(credentials, name, value)

    def ask() -> None:
        try:
            http_request_safe(credentials, _SEARCH, "GET", params={"max_results": 1}, max_retries=0, timeout=_ANSWER)
        except Exception as e:  # noqa: BLE001 - told by the caller
            # MLflow, requests and urllib3 each wrap the one that says what happened.
            raise _innermost(e) from None

    return without_secret(_failed(ask))


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


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


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
