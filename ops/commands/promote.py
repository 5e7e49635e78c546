"""`assay approve`, `promote` and `rollback`: what a person decides about a registered version."""

import getpass
from pathlib import Path

from ops.console import emit, say
from ops.registries import model_reference
from steps.register.decisions import Action, PersonsDecision, decide
from steps.register.registered import with_secret


def decide_about(
    root: Path, action: Action, model: str, by: str | None, why: str, json_output: bool, *,
    to: str | None = None, despite_gate: bool = False,
) -> None:  # fmt: skip
    """Decide, and say what was decided. `to`: the version that a rollback goes back to."""
    meant = model_reference(root, model)
    made = decide(
        action, with_secret(meant.uri), meant.name, by=by or getpass.getuser(), why=why,
        version=to or meant.version, alias=meant.alias, despite_gate=despite_gate,
    )  # fmt: skip
    if json_output:
        emit({"registry": meant.uri, **made.model_dump(mode="json")})
    else:
        say(_said(made))


def _said(made: PersonsDecision) -> str:
    what = f"{made.model} version {made.version}"
    if made.action == "approve":
        return f"{what}: approved by {made.by}"
    before = f", in place of version {made.before}" if made.before else ""
    return f"{what} is champion now{before} (by {made.by})"
