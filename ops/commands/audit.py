"""`assay audit`: everything behind a registered model or a dataset, and whether it is still what was recorded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.audit.account import account
from ops.audit.dataset import account_of_data, follow_data, verify_data
from ops.audit.findings import Finding, exit_status
from ops.audit.target import find
from ops.audit.trail import Trail, follow
from ops.audit.verify import Verification, verify
from ops.console import emit, heading, say, show_table
from ops.references import Reference, ReferenceKind, reference
from steps.contracts.errors import InputNotFoundError
from steps.engines.signing.keys import read_public_key

# Kinds of references that mean a dataset.
_OF_DATA: tuple[ReferenceKind, ...] = ("run", "dataset")
# Chosen: as many damaged files as can be read at a glance.
_NAMED = 20
_STAGE = ("stage", "rows_in", "created", "kept", "dropped", "quarantined", "changed", "flagged")


def audit(root: Path, what: str, checked: bool, key: str | None, json_output: bool) -> int:
    """Print the audit of a model, or of a dataset where `what` says run: or dataset:, or names a run and no model.

    Raises:
        InputNotFoundError: nothing of that name is known. Otherwise as `find` and `follow_data`.
    """
    if what.partition(":")[0] in _OF_DATA:
        return audit_data(root, reference(what, *_OF_DATA), checked, key, json_output)
    try:
        return audit_model(root, what, checked, key, json_output)
    except InputNotFoundError as e:
        if set(what) & set("#@/:"):
            raise
        try:
            return audit_data(root, Reference("run", what), checked, key, json_output)
        except InputNotFoundError:
            raise e from None


def audit_data(root: Path, meant: Reference, checked: bool, key: str | None, json_output: bool) -> int:
    """Print the audit of a dataset version. Returns the exit status, as `audit_model`."""
    public = read_public_key(key) if key is not None else None
    trail = follow_data(root, meant)
    verified = verify_data(root, trail, public) if checked or public is not None else None
    said = account_of_data(root, trail, verified)
    if json_output:
        emit(said)
    else:
        heading(f"dataset {trail.version.digest} of {trail.run.name}")
        show_table(["", ""], [[name, value] for name, value in _facts_of_data(said) if value])
        _show_rows(said)
        _show_verified(verified)
    return exit_status(verified.findings) if verified is not None else 0


def audit_model(root: Path, reference: str, checked: bool, key: str | None, json_output: bool) -> int:
    """Print the audit. Returns the exit status: 0, or that of what `--verify` found.

    `checked`: read everything again and hold it against the records; `key`: the public key that must have signed.
    """
    public = read_public_key(key) if key is not None else None
    trail = follow(root, find(root, reference, ask=checked or public is not None))
    verified = verify(root, trail, public) if checked or public is not None else None
    said = account(root, trail, verified)
    if json_output:
        emit(said)
    else:
        _show(trail, said)
        _show_verified(verified)
    return exit_status(verified.findings) if verified is not None else 0


def _show(trail: Trail, a: dict[str, Any]) -> None:
    registration = trail.target.registration
    aliases = "".join(f" @{alias}" for alias in registration.aliases)
    heading(f"{registration.name} version {registration.version} {registration.status}{aliases}")
    show_table(["", ""], [[name, value] for name, value in _facts(a) if value])
    _show_rows(a)
    rows = [
        [e["subject"], t["task"], name, m["n"], f"{m['value']:.4g} [{m['low']:.4g}, {m['high']:.4g}]"]
        for e in a["evaluations"] for t in e["tasks"] for name, m in t["metrics"].items()
    ]  # fmt: skip
    show_table(["subject", "task", "metric", "n", "value, 95 % interval"], rows, numeric=[3])
    if a["decision"] is not None:
        failed = [x["check"] for x in a["decision"]["reasons"] if not x["passed"]]
        say("gate: promoted" if a["decision"]["promote"] else f"gate: not promoted: {', '.join(failed)}")


def _show_rows(a: dict[str, Any]) -> None:
    """What became of the rows: stages, versions, sources."""
    show_table(_STAGE, [[s[c] for c in _STAGE] for s in a["stages"]], numeric=range(1, len(_STAGE)))
    for stage in a["stages"]:
        for reason in _reasons(stage):
            say(reason)
    versions = [[v["artifact"], v["digest"], v["rows"]] for v in a["dataset"]["versions"]]
    show_table(["dataset version", "digest", "rows"], versions, numeric=[2])
    _show_sources(a)


def _show_verified(verified: Verification | None) -> None:
    if verified is not None:
        _show_findings(verified)
    else:
        say("recorded, not verified: --verify reads everything again and holds it against the records")


def _facts_of_data(a: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is one line each."""
    run = a["run"]
    yield "artifact", f"{a['version']['name']}, {a['version']['uri']}"
    yield "run", f"{run['name']} ({run['run_id']}), {run['status']}, {run['started']}, stack {run['stack']}"
    yield "stands on", ", ".join(link["name"] for link in a["earlier_runs"])
    yield from _facts_of_run(a)
    yield "store", run["artifact_store"]
    yield "record", f"{a['record']}, SHA-256 {a['record_sha256']}" if a["record"] else "none was stored"
    yield "models of it", ", ".join(a["models"]) or "none registered"


def _facts(a: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is one line each, in the order of the way back."""
    model, run, training, base = a["model"], a["run"], a["training"], a["base"]
    if model is None:
        yield "weights", "their record is damaged"
    else:
        yield "weights", f"{model['digest']} ({model['kind']}, {model['parameters']:,}, {model['trainable']:,} trained)"
        for place in a["weights"]:
            yield f"  in the {place['place']}", f"{place['uri']}, {len(place['files'])} files"
    pin = base.get("revision") or base.get("digest") or ""
    yield "base", f"{base.get('name')} {pin}, licence {base['licence'] or 'not stated'}"
    if chain := [f"{ancestor['name']} {ancestor['digest'][:12]}" for ancestor in base["started_from"]]:
        yield "came about by", " > ".join(chain)
    cached = " (taken from the cache)" if training["from_cache"] else ""
    yield "trained by", f"{training['run'] or training['run_id']}, {training['step']}{cached}"
    yield "trained on", a["dataset"]["trained_on"] or "not recorded"
    yield "rows made by", a["dataset"]["run"] or "a run that no record is left of"
    yield "run", f"{run['name']} ({run['run_id']}), {run['started']}, stack {run['stack']}"
    yield "MLflow", f"{a['registration']['tracking_uri']}, run {training['mlflow_run_id']}"
    yield from _facts_of_run(a)
    for said in a["approvals"] or ():
        yield said["action"], f"by {said['by']}, {said['at']}: {said['why']}"
    yield "store", run["artifact_store"]
    yield "chain", a["chain"]["head"] or ""
    yield "signed by", a["chain"]["key"] or ""


def _facts_of_run(a: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Code, config, machines, and who decided about rows."""
    run = a["run"]
    changed = ", and files that differed from it" if a["code"]["changed_files"] else ""
    yield "commit", f"{a['code']['commit'] or 'not a checkout'}{changed}"
    yield "config", f"{run['config_digest']} ({run['config']})"
    yield "seeds", ", ".join(f"{k} {v}" for k, v in a["seeds"].items())
    yield "threads", ", ".join(f"{k} {v}" for k, v in a.get("threads", {}).items())
    yield from _machines(a["environment"])
    if a["judge"] is not None:
        judge = a["judge"]
        by = f"{judge['model']} at {judge['base_url']}" if judge["model"] else judge["backend"]
        yield "judge", f"{by}, prompts {', '.join(d[:16] for d in judge['prompt_digests']) or 'not recorded'}"
    if a["reviews"] is not None:
        yield "people decided", ", ".join(f"{n} {s}" for n, s in a["reviews"]["files"].items()) or "nothing"


def _machines(environment: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for step, m in environment["machines"].items():
        gpus = ", ".join(m["accelerators"]) or "no GPU"
        yield step, f"{m['processor']}, {m['cores']} cores, {m['memory_mb']:,} MB, {gpus}; {m['system']}; {m['python']}"
    if environment["packages"]:
        yield "packages", f"{len(environment['packages'])}, digest {environment['packages_digest']} (--json lists them)"


def _reasons(stage: dict[str, Any]) -> Iterator[str]:
    for verdict, reasons in (stage["reasons"] or {}).items():
        counts = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
        yield f"  {stage['stage']} {verdict}: {counts}"
    if stage["reported_otherwise"]:
        yield f"  {stage['stage']}: its report says otherwise: {'; '.join(stage['reported_otherwise'])}"


def _show_sources(a: dict[str, Any]) -> None:
    said = [
        [s["name"], s["location"], *(s[label] or "not stated" for label in ("licence", "access", "consent"))]
        for s in a["sources"]
    ]
    show_table(["source", "location", "licence", "access", "consent"], said)
    files = [[name, sha256] for s in a["sources"] for name, sha256 in s["files"].items()]
    show_table(["read", "SHA-256"], files[:_NAMED])
    if len(files) > _NAMED:
        say(f"and {len(files) - _NAMED:,} more (--json)")
    rows = list((a["dataset"].get("rows_by_source") or {}).items())
    if rows:
        show_table(["source", "rows in the last version"], rows[:_NAMED], numeric=[1])


def _show_findings(found: Verification) -> None:
    broken = [f for f in found.findings if f.broken]
    removed = [f for f in found.findings if f.state == "removed"]
    others = [f for f in found.findings if not f.broken and f.state != "removed"]
    told = [*others, *removed[-_NAMED:], *broken[:_NAMED]]
    show_table(["verified", "", "detail"], [[f.what, _word(f), f.detail] for f in told])
    if len(broken) > _NAMED:
        say(f"and {len(broken) - _NAMED:,} more that don't hold (--json)")
    if len(removed) > _NAMED:
        say(f"and {len(removed) - _NAMED:,} more that were removed on purpose (--json)")
    missing = [f for f in found.findings if f.state == "not reached"]
    if broken:
        say(f"NOT VERIFIED: {len(broken)} of {len(found.findings)} don't hold")
    elif missing:
        say(f"NOT VERIFIED: {', '.join(dict.fromkeys(f.detail for f in missing))}")
    else:
        say(f"verified: {found.files:,} files" + (", but for what was removed on purpose" if removed else ""))


def _word(finding: Finding) -> str:
    return finding.state.upper() if finding.broken else finding.state
