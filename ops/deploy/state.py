"""What is deployed, under which name: one small file per deployment, replaced whole; and the lock of who changes it.

.zenml/state/deployments/<name>/state.json   the deployment
.zenml/state/deployments/<name>/<id>.log     what each of its servers said
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from steps.contracts.errors import InputError, IntegrityError
from steps.contracts.locks import locked
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import state_folder

Target: TypeAlias = Literal["serve", "mlflow", "kubernetes", "sagemaker"]
STATE = "state.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Server(Frozen):
    """A model behind a server of its own.

    Attributes:
        id: of its processes; port: on which it listens, on this machine alone.
        name: of the deployment, under which `assay serve` is asked for the model.
        asked: the model as it was named; model: what names the same weights for good; digest: of these.
        file: SHA-256 of the GGUF file that answers; None: another kind of model.
        over: what an adapter in a folder lies over, as it was named.
        against: what speaks against the model by its gate and approvals.
        overrides: settings of `assay serve`.
        place: where it is, elsewhere: image, namespace and context in Kubernetes; image, machine, region, bucket and
            role in SageMaker.
        since: when it passed its smoke test, or was applied elsewhere, UTC, ISO 8601; tested: questions that it
            answered then.
    """

    id: str
    name: str
    to: Target
    asked: str
    model: str
    digest: str
    port: int
    file: str | None = None
    over: str | None = None
    against: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    place: dict[str, str] = Field(default_factory=dict)
    since: str = ""
    tested: int = 0

    @property
    def by(self) -> str:
        """What answers, in a word."""
        return "llama.cpp" if self.file is not None else self.to

    @property
    def elsewhere(self) -> bool:
        """Whether another machine than this one runs it."""
        return self.to in ("kubernetes", "sagemaker")

    def is_like(self, other: "Server") -> bool:
        """Whether both are the same model, run alike."""
        same = ("to", "model", "digest", "file", "overrides", "place")
        return all(getattr(self, name) == getattr(other, name) for name in same)


class Deployment(Frozen):
    """Attributes:
    port: the public one, of the front; front: id of its process, "" elsewhere.
    current: what is asked; previous: what was asked before, whose processes have ended.
    """

    name: str
    port: int
    front: str
    current: Server
    previous: Server | None = None

    @property
    def url(self) -> str:
        """Where it is asked; in Kubernetes from within the cluster."""
        if self.current.to == "kubernetes":
            return f"http://assay-{self.name}.{self.current.place['namespace']}:{self.port}"
        if self.current.to == "sagemaker":
            host = f"runtime.sagemaker.{self.current.place['region']}.amazonaws.com"
            return f"https://{host}/endpoints/assay-{self.name}/invocations"
        return f"http://127.0.0.1:{self.port}"


def deployments_folder(root: Path) -> Path:
    """It may not exist yet."""
    return state_folder(root) / "deployments"


def folder_of(root: Path, name: str) -> Path:
    """The folder of one deployment.

    Raises:
        InputError: the name can't be a folder's.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"not a usable name: {name!r}", hint="--as NAME: letters, digits, '.', '-' and '_', at most 63"
        )
    return deployments_folder(root) / name


@contextmanager
def changing(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Held by one command at a time; the system frees it when that dies."""
    with locked(folder / "lock", on_wait):
        yield


def read(folder: Path) -> Deployment | None:
    """What is deployed there; None: nothing.

    Raises:
        IntegrityError: the file was damaged.
    """
    file = folder / STATE
    try:
        return Deployment.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as e:
        hint = "assay undeploy ends what runs, and removes it"
        raise IntegrityError(
            f"not the state of a deployment: {e.errors()[0]['msg']}", where=str(file), hint=hint
        ) from e


def write(folder: Path, deployment: Deployment) -> None:
    """Whole, or as it was."""
    write_whole(folder / STATE, deployment.model_dump_json(indent=1) + "\n")


def all_names(root: Path) -> list[str]:
    """Of everything that is deployed."""
    return sorted(f.parent.name for f in deployments_folder(root).glob(f"*/{STATE}"))
