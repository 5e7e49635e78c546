"""What people decide about a registered version: approved, promoted, rolled back; each with who, when and why.

Every decision is a tag of its own on the version that it is about, so that two people who decide at once lose nothing
of each other's. It is written before the alias moves: no champion was ever made without a word.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from pydantic import Field, ValidationError

from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.reports import Frozen
from steps.engines.tracking.secrets import without_secret
from steps.engines.tracking.service import WORK, environment, service
from steps.register import versions

Action: TypeAlias = Literal["approve", "promote", "rollback"]

_PREFIX = "decision."
_MISSING = "RESOURCE_DOES_NOT_EXIST"
# Characters of a tag's value that MLflow's database holds, less what else is said.
_LONGEST_WHY = 4_000


class PersonsDecision(Frozen):
    """One decision of a person.

    Attributes:
        version: that it is about; before: champion until then, None without one.
        weights: digest of the weights as the registry has it, None where it says none.
        gate: the gate's word on them (passed, failed), None likewise.
        at: UTC, ISO 8601.
    """

    action: Action
    model: str
    version: str
    by: str = Field(min_length=1, max_length=200)
    at: str
    why: str = Field(min_length=1, max_length=_LONGEST_WHY)
    before: str | None = None
    weights: str | None = None
    gate: str | None = None


def decisions_of(tags: Mapping[str, str]) -> list[PersonsDecision]:
    """Those that a version's tags hold, oldest first; what isn't one (a tag that somebody changed) is left out."""
    found = []
    for name, value in tags.items():
        if name.startswith(_PREFIX):
            try:
                found.append(PersonsDecision.model_validate_json(value))
            except ValidationError:
                continue
    return sorted(found, key=lambda d: d.at)


def decide(
    action: Action, uri: str, model: str, *, by: str, why: str,
    version: str | None = None, alias: str | None = None, despite_gate: bool = False,
) -> PersonsDecision:  # fmt: skip
    """Write down what a person decided, and move the alias `champion` where that is what was decided.

    Args:
        version, alias: which version; with neither the alias `candidate`, for a rollback the champion before this one.
        despite_gate: promote a version that the gate refused, or didn't judge.

    Raises:
        InputNotFoundError: the registry has no such model, version or alias. InputError: the gate, a missing approval
            or the present champion speak against it. ServiceError: the registry can't be reached.
    """
    if not why.strip() or not by.strip():
        raise InputError("a decision needs who and why", hint="--why TEXT, --by NAME")
    if len(why) > _LONGEST_WHY or len(by) > 200:
        raise InputError(f"why is longer than {_LONGEST_WHY:,} characters, or by than 200", hint="name a document")
    with service(uri), environment(WORK), versions.one_at_a_time(uri):
        from mlflow import MlflowClient

        client = MlflowClient(uri, registry_uri=uri)
        champion = _champion(client, uri, model)
        chosen = _chosen(client, model, version, alias, champion if action == "rollback" else None)
        if action != "approve":
            _allowed(chosen, champion, action, despite_gate)
        made = PersonsDecision(
            action=action, model=model, version=str(chosen.version), by=by.strip(), why=why.strip(),
            at=datetime.now(UTC).isoformat(timespec="microseconds"), before=champion,
            weights=chosen.tags.get("weights_digest"), gate=chosen.tags.get("gate"),
        )  # fmt: skip
        _write(client, made)
    return made


def _champion(client: Any, uri: str, model: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(model).aliases.get(versions.CHAMPION)
    except MlflowException as e:
        if e.error_code != _MISSING:
            raise
        raise InputNotFoundError(f"no model {model!r} is registered", where=without_secret(uri)) from e
    return None if found is None else str(found)


def _chosen(client: Any, model: str, version: str | None, alias: str | None, back_from: str | None) -> Any:
    """The version that is meant. `back_from`: the champion that a rollback without a version leaves."""
    from mlflow.exceptions import MlflowException

    try:
        if version is None and back_from is not None:
            version = client.get_model_version(model, back_from).tags.get(versions.BEFORE)
            if version is None:
                hint = "name the version: --to VERSION"
                raise InputError(f"there was no champion before version {back_from}", where=model, hint=hint)
        if version is not None:
            return client.get_model_version(model, version)
        return client.get_model_version_by_alias(model, alias or versions.CANDIDATE)
    except MlflowException as e:
        if e.error_code not in (_MISSING, "INVALID_PARAMETER_VALUE"):
            raise
        said = f"no version {version}" if version is not None else f"no version with the alias {alias or 'candidate'}"
        known = sorted((str(v.version) for v in client.search_model_versions(f"name='{model}'")), key=int)
        raise InputNotFoundError(said, where=model, hint="known: " + ", ".join(known[-10:])) from e


def _allowed(chosen: Any, champion: str | None, action: Action, despite_gate: bool) -> None:
    """Whether this version may become champion."""
    where = f"{chosen.name} version {chosen.version}"
    if action == "rollback" and champion is None:
        raise InputError("there is no champion to leave", where=chosen.name, hint="assay promote MODEL/VERSION")
    if str(chosen.version) == champion:
        raise InputError("it is champion already", where=where)
    if action == "rollback":
        if not _was_champion(chosen):
            raise InputError("it never was champion", where=where, hint="assay promote MODEL/VERSION --why TEXT")
        return
    if chosen.tags.get("gate") != "passed" and not despite_gate:
        said = chosen.tags.get("gate_failed") or "no word of the gate is recorded"
        raise InputError(
            f"the gate didn't let it pass: {said}", where=where, hint="--despite-gate, with the reason why"
        )
    wanted = int(chosen.tags.get(versions.APPROVALS, "0"))
    given = {d.by for d in decisions_of(chosen.tags) if d.action == "approve" and d.weights == _weights(chosen)}
    if len(given) < wanted:
        said = f"{len(given)} of {wanted} approvals" + (f" ({', '.join(sorted(given))})" if given else "")
        raise InputError(said, where=where, hint="assay approve MODEL/VERSION --why TEXT, by somebody else")


def _was_champion(chosen: Any) -> bool:
    return chosen.tags.get("status") == versions.CHAMPION or any(
        d.action == "promote" for d in decisions_of(chosen.tags)
    )


def _weights(chosen: Any) -> str | None:
    found: str | None = chosen.tags.get("weights_digest")
    return found


def _write(client: Any, made: PersonsDecision) -> None:
    # MLflow allows no plus sign in a tag's name.
    tag = f"{_PREFIX}{made.at.removesuffix('+00:00')}-{uuid4().hex[:8]}"
    client.set_model_version_tag(made.model, made.version, tag, made.model_dump_json())
    if made.action == "approve":
        return
    # A version that is gone back to keeps the one before it, so that one can go back further.
    if made.action == "promote":
        if made.before is not None:
            client.set_model_version_tag(made.model, made.version, versions.BEFORE, made.before)
        client.set_model_version_tag(made.model, made.version, "status", versions.CHAMPION)
    client.set_registered_model_alias(made.model, versions.CHAMPION, made.version)
