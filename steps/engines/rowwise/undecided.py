"""What becomes of a row about which nothing could be found out: the config's policy, in one place."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from steps.contracts.errors import AssayError

UndecidedPolicy: TypeAlias = Literal["keep", "drop", "quarantine", "fail"]
Undecided: TypeAlias = Literal["undecided", "dropped", "quarantined"]

_BECOMES: dict[UndecidedPolicy, Undecided] = {
    "keep": "undecided", "drop": "dropped", "quarantine": "quarantined", "fail": "undecided",
}  # fmt: skip


def becomes(policy: UndecidedPolicy) -> Undecided:
    """The ledger's word for what becomes of the row. "undecided" rows stay; so does what ends the run, till it does."""
    return _BECOMES[policy]


def undecided(policy: UndecidedPolicy, error: Callable[[], AssayError]) -> Undecided:
    """The same, for those who end the run at once.

    Raises:
        AssayError: that of `error`, when the policy is fail.
    """
    if policy == "fail":
        raise error()
    return becomes(policy)
