"""Whose a run is, and which process of which machine launched it: nobody ends a run that may live.

A launcher writes both into its run's `extra`. Whether another process lives can be known only where its number means
the same: on the same machine, since the same boot, among the same processes (a container has its own).
"""

import getpass
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.enums import StoreType
from zenml.zen_stores.base_zen_store import BaseZenStore

from steps.zenml_runtime.state import DRIVEN

# In a run's `extra`.
OWNER = "owner"


@dataclass(frozen=True)
class Owner:
    """The process that launched a run.

    Attributes:
        drives: whether nothing of the run goes on without it.
        account: of the operating system.
        host: the machine's name, for people.
        place: of this boot and these processes; "" where the system doesn't say.
        started: when the process did, in the system's ticks since its boot, which no change of the clock moves: another
            process that has the same number later isn't taken for it.
    """

    drives: bool
    account: str
    host: str
    place: str
    pid: int
    started: str

    @property
    def is_here(self) -> bool:
        """Whether this process can tell if it lives."""
        return bool(self.place) and self.place == _place()

    def said(self) -> dict[str, Any]:
        """As it stands in a run's `extra`."""
        return asdict(self)


def this_process() -> Owner:
    """The running process, as the owner of a run on the active stack."""
    pid = os.getpid()
    drives = Client().active_stack.orchestrator.flavor in DRIVEN
    return Owner(drives, _account(), platform.node(), _place(), pid, _started(pid))


def owner_of(run: Any) -> Owner | None:
    """Of a run (PipelineRunResponse); None where an older version or somebody else's program launched it."""
    said = run.config.extra.get(OWNER)
    try:
        return Owner(**said) if said else None
    except TypeError:
        return None


def is_gone(owner: Owner) -> bool:
    """Whether its process is known to have ended; False where that can't be known from here."""
    return owner.is_here and _started(owner.pid) != owner.started


def is_mine(run: Any) -> bool:
    """Whether a run is this user's: by the account of ZenML's server that made it. A database that everybody opens
    under one name tells accounts of the operating system apart.
    """
    if run.user_id is not None and run.user_id != Client().active_user.id:
        return False
    if has_accounts(Client().zen_store):
        return True
    owner = owner_of(run)
    return owner is None or owner.account == _account()


def has_accounts(store: BaseZenStore) -> bool:
    """Whether ZenML's store knows who asks: a server does, a database doesn't."""
    return bool(store.type == StoreType.REST)


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def _place() -> str:
    """Equal for processes that see each other by their numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """ "" where there is no such process any more, or only what its parent hasn't buried yet."""
    try:
        # The name of the program stands in brackets, and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
