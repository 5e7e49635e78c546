"""What a verification found of one promise, and how it ends."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from steps.contracts.errors import IntegrityError, ServiceError

# holds; differs from what was recorded; gone without a word; never recorded; removed by `erase` or `gc`, which signed
# for it; changed since: a source is another one than when it was read; not reached: a service is down; not checked:
# nothing here could, for the reason that is told.
State: TypeAlias = Literal[
    "holds", "differs", "gone", "unrecorded", "removed", "changed since", "not reached", "not checked"
]
_BROKEN: frozenset[State] = frozenset({"differs", "gone", "unrecorded"})


@dataclass(frozen=True)
class Finding:
    """One promise.

    Attributes:
        what: the promise, in words.
        detail: what was compared, or what is wrong with it.
    """

    what: str
    state: State
    detail: str = ""

    @property
    def broken(self) -> bool:
        """Whether a model of which this is found can't be vouched for."""
        return self.state in _BROKEN


def held(what: str, holds: bool, detail: str) -> Finding:
    """A promise that holds, or what differs from it."""
    return Finding(what, "holds" if holds else "differs", detail)


def exit_status(findings: Iterable[Finding]) -> int:
    """0: all holds. Else that of a broken promise, or of a service that didn't answer."""
    found = list(findings)
    if any(f.broken for f in found):
        return IntegrityError.exit_code
    return ServiceError.exit_code if any(f.state == "not reached" for f in found) else 0
