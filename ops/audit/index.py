"""Whether the index of this machine says of a run what the run itself said: its record, its config, its page."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from materializers.integrity import StoredRecord
from ops.audit.findings import Finding, held
from ops.removals import read_removals
from ops.run_index import config_path, report_path, run_folder
from pipelines.step_names import FINISH
from steps.contracts.digests import file_digest, value_digest
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.state import state_folder

_AGAIN = "remove run.json beside it, then assay runs --sync writes them anew"
# Tags of a registration that the run's record says too, under these names.
_TAGGED = {"zenml_run": "name", "config_digest": "config_digest", "commit": "commit", "stack": "stack"}


def check_index(root: Path, run: RunRecord, stored: StoredRecord | None) -> Iterator[Finding]:
    """The run's record, config and page in the index against what its last step stored, and its registration.

    `stored`: its record there; None where none was found.
    """
    yield from _check_record(root, run, stored)
    yield _check_config(root, run)
    yield from _check_page(root, run, stored)
    yield from _check_tags(run)


def _check_record(root: Path, run: RunRecord, stored: StoredRecord | None) -> Iterator[Finding]:
    what, file = f"run.json of {run.name} is the stored record", run_folder(root, run.name) / "run.json"
    record = stored.record if stored is not None else None
    if record is None:
        if FINISH in run.executed_steps:
            yield Finding(what, "gone", f"no record of run {run.run_id} in the store")
        else:
            yield Finding(what, "unrecorded", "the run ended before it stored its record, or is of an older version")
        return
    fields = [f for f in RunRecord.model_fields if getattr(record, f) != getattr(run, f)]
    differs = f"{', '.join(fields)} differ; remove {file}, then assay runs --sync writes it anew"
    yield held(what, not fields, differs if fields else run.run_id)


def _check_config(root: Path, run: RunRecord) -> Finding:
    what, file = f"config.yaml of {run.name} has the recorded digest", config_path(root, run.name)
    try:
        found = value_digest(yaml.safe_load(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _gone(root, what, file)
    except (yaml.YAMLError, ValueError, TypeError):
        return Finding(what, "differs", f"{file} can't be read; {_AGAIN}")
    holds = found == run.config_digest
    return held(what, holds, found if holds else f"{file} was changed; {_AGAIN}")


def _check_page(root: Path, run: RunRecord, stored: StoredRecord | None) -> Iterator[Finding]:
    """A run that stored its page has it here too; one drawn anew by other code is another one."""
    what, file = f"report.html of {run.name} is the stored page", report_path(root, run.name)
    record = stored.record if stored is not None else None
    pages = [sha256 for a in record.around if a.step == FINISH for sha256 in a.beside.values()] if record else []
    if pages and not file.is_file():
        yield _gone(root, what, file)
    elif pages:
        found = file_digest(file)
        yield held(what, found in pages, found if found in pages else f"{file} is another one; {_AGAIN}")


def _gone(root: Path, what: str, file: Path) -> Finding:
    """A file that isn't there: removed, if a signed removal says so."""
    removals = read_removals(str(state_folder(root)))
    by = next((r for r in removals if r.key is not None and r.removal.covers(str(file))), None)
    return Finding(what, "removed", by.name) if by else Finding(what, "gone", f"{file} is gone; {_AGAIN}")


def _check_tags(run: RunRecord) -> Iterator[Finding]:
    """What the registration says of its run; nothing for one that an earlier run made."""
    tags = run.registration.tags if run.registration else {}
    if tags.get("zenml_run_id") == run.run_id:
        wrong = [tag for tag, field in _TAGGED.items() if tag in tags and tags[tag] != getattr(run, field)]
        yield held("the registration's tags are of this run", not wrong, ", ".join(wrong) or run.name)
