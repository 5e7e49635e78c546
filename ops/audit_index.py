"""Whether the run index says of a run what the run itself said: its record and its config."""

from pathlib import Path
from typing import TypeAlias

import yaml

from materializers.integrity import stored_record
from ops.run_index import config_path, run_folder
from steps.contracts.digests import value_digest
from steps.contracts.runs import RunRecord

# (what, holds, detail)
Check: TypeAlias = tuple[str, bool, str]
_LAST = "finish_step"
# Tags of a registration that the run's record says too, under these names.
_TAGGED = {"zenml_run": "name", "config_digest": "config_digest", "commit": "commit", "stack": "stack"}


def check_index(root: Path, run: RunRecord) -> list[Check]:
    """The run's record and config in the index against the record that its last step stored, and its registration.

    Raises:
        ServiceError: the artifact store can't be reached.
    """
    return [*_check_record(root, run), _check_config(root, run), *_check_tags(run)]


def _check_record(root: Path, run: RunRecord) -> list[Check]:
    what, file = f"run.json of {run.name} is the stored record", run_folder(root, run.name) / "run.json"
    stored = stored_record(run)
    if stored is None:
        # Runs of older versions have none.
        return [(what, False, f"no record of run {run.run_id} in the store")] if _LAST in run.executed_steps else []
    fields = [f for f in RunRecord.model_fields if getattr(stored, f) != getattr(run, f)]
    differs = f"{', '.join(fields)} differ; remove {file}, then assay runs --sync writes it anew"
    return [(what, not fields, differs if fields else run.run_id)]


def _check_config(root: Path, run: RunRecord) -> Check:
    what, file = f"config.yaml of {run.name} has the recorded digest", config_path(root, run.name)
    again = "remove run.json beside it, then assay runs --sync writes both anew"
    try:
        found = value_digest(yaml.safe_load(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return what, False, f"{file} is gone; {again}"
    except (yaml.YAMLError, ValueError, TypeError):
        return what, False, f"{file} can't be read; {again}"
    return what, found == run.config_digest, found if found == run.config_digest else f"{file} was changed; {again}"


def _check_tags(run: RunRecord) -> list[Check]:
    """What the registration says of its run; nothing for one that an earlier run made."""
    tags = run.registration.tags if run.registration else {}
    if tags.get("zenml_run_id") != run.run_id:
        return []
    wrong = [tag for tag, field in _TAGGED.items() if tag in tags and tags[tag] != getattr(run, field)]
    return [("the registration's tags are of this run", not wrong, ", ".join(wrong) or run.name)]
