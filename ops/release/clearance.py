"""Whether a model may be released: the gate's word on these very weights, and the people who must have approved."""

from pathlib import Path

from materializers.artifacts import Artifacts
from ops.found_models import FoundModel
from ops.release.facts import Behind
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.evaluation import Decision, EvalReport, Registration
from steps.contracts.exports import ParityReport
from steps.contracts.reports import Frozen
from steps.register import versions
from steps.register.decisions import PersonsDecision, decisions_of

# Chosen: a reason, no document.
_LONGEST_REASON = 4_000
NOT_JUDGED = "no run is known that made it, so that no gate has judged it"


class Clearance(Frozen):
    """What was decided about a model.

    Attributes:
        registered: name and version, without the registry's address; None: these weights aren't registered.
        wanted: people who must have approved; approvals: everything that people decided about the version, oldest
            first; None: the registry didn't answer.
        against: what speaks against a release; although: why it was made all the same, None where nothing does.
    """

    decision: Decision | None
    registered: str | None
    wanted: int
    approvals: tuple[PersonsDecision, ...] | None
    against: tuple[str, ...]
    although: str | None = None


def clearance_of(root: Path, found: FoundModel, stores: Behind | None, although: str | None) -> Clearance:
    """What the gate and people said of these weights.

    Raises:
        InputError: something speaks against the release, and no reason was given. ConfigError: a reason without words.
        IntegrityError, InputNotFoundError: the evidence is damaged or gone.
    """
    if although is not None and not 0 < len(although.strip()) <= _LONGEST_REASON:
        raise ConfigError(f"a reason has 1 to {_LONGEST_REASON:,} characters", where="--although")
    decision, judged = _judged(found, stores)
    registration = _registration(found)
    approvals, trouble, asked = _asked(registration, found.model.info.digest)
    wanted = max(_wanted(found), asked)
    against = [*judged, *_held(found, stores), *_approved(approvals, trouble, wanted, found.model.info.digest)]
    if against and although is None:
        raise InputError(
            "; ".join(against), where=found.name,
            hint="--although REASON releases it all the same: the reason stands in the folder and on its card",
        )  # fmt: skip
    return Clearance(
        decision=decision,
        registered=f"{registration.name}/{registration.version}" if registration else None,
        wanted=wanted, approvals=approvals, against=tuple(against),
        although=although.strip() if although is not None and against else None,
    )  # fmt: skip


def _judged(found: FoundModel, stores: Behind | None) -> tuple[Decision | None, list[str]]:
    if found.run is None or stores is None:
        return None, [NOT_JUDGED]
    decisions = [stores.store.value(a, Decision) for a in found.run.of_type("decision")]
    if not decisions:
        return None, [f"no gate judged the models of run {found.run.name}"]
    decision = decisions[-1]
    if candidate_digest(stores.store, decision) != found.model.info.digest:
        return None, [f"the gate of run {found.run.name} judged another model ({decision.candidate or 'the last one'})"]
    failed = [r.check for r in decision.reasons if not r.passed]
    return decision, [] if decision.promote else [f"the gate didn't let it pass: {', '.join(failed)}"]


def _held(found: FoundModel, stores: Behind | None) -> list[str]:
    """Exports and servers of these weights that aren't the model."""
    if found.run is None or stores is None:
        return []
    reports = [stores.store.value(a, ParityReport) for a in found.run.of_type("parity")]
    held = [r for p in reports if p.model == found.model.info.digest for r in p.held]
    return [f"{r.runtime} isn't the model: {r.reasons[0]}" for r in held]


def candidate_digest(store: Artifacts, decision: Decision) -> str | None:
    """Digest of the weights that a decision is about; decisions of earlier versions name none: of the last subject."""
    reports = [store.value(a, EvalReport) for a in store.run.of_type("eval_report")]
    named = [r for r in reports if r.subject == decision.candidate] or (reports[-1:] if not decision.candidate else [])
    return named[0].model_digest if named else None


def _registration(found: FoundModel) -> Registration | None:
    """That of these weights."""
    made = found.run.registration if found.run is not None else None
    return made if made is not None and made.tags.get("weights_digest") == found.model.info.digest else None


def _wanted(found: FoundModel) -> int:
    """Where a person promotes, one at least must have said a word."""
    said = found.run.config.get("registry") if found.run is not None else None
    if not isinstance(said, dict):
        return 0
    asked = said.get("approvals") or 0
    return max(int(str(asked)), 1 if said.get("promotion") == "manual" else 0)


def _asked(made: Registration | None, digest: str) -> tuple[tuple[PersonsDecision, ...] | None, str | None, int]:
    """What people decided, why that isn't known, and how many the registry wants to have approved."""
    from steps.register.registered import find_version

    if made is None:
        return (), None, 0
    where = f"{made.name}/{made.version}"
    try:
        tags = find_version(made.tracking_uri, made.name, made.version, None).tags
    except (ServiceError, IntegrityError):
        # Why stands at an address, which isn't told outside.
        return None, f"the registry of {where} can't be read, so that nobody knows who approved", 0
    except InputNotFoundError:
        return None, f"the registry has no {where} any more, so that nobody knows who approved", 0
    if tags.get("weights_digest") != digest:
        return None, f"the registry has other weights under {where}", 0
    wanted = tags.get(versions.APPROVALS, "0")
    if not wanted.isdecimal():
        return None, f"the registry's tag {versions.APPROVALS} of {where} is no number", 0
    return tuple(decisions_of(tags)), None, int(wanted)


def _approved(
    approvals: tuple[PersonsDecision, ...] | None, trouble: str | None, wanted: int, digest: str
) -> list[str]:
    if trouble is not None:
        return [trouble]
    # Promoting is a word as well, and as much as one.
    given = {d.by for d in approvals or () if d.action in ("approve", "promote") and d.weights == digest}
    if len(given) < wanted:
        return [f"{len(given)} of {wanted} approvals" + (f" ({', '.join(sorted(given))})" if given else "")]
    return []
