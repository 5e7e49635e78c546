"""What makes a run's record the head of a chain: digests of all that the run left, and of the runs it stands on.

The SHA-256 of the record's bytes then stands for everything behind a model, down to the sources. It is signed, and kept
where the model is looked for: in the tags of its registered version.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from zenml.client import Client
from zenml.steps import get_step_context

from materializers import layout
from materializers.artifacts import Artifacts
from materializers.integrity import beside
from materializers.transfer import as_json
from pipelines.record import artifacts_in, dataset_maker, outputs_of
from pipelines.step_names import DATASET, FINISH, START
from steps.contracts.digests import text_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.provenance import EarlierRun
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.engines.signing.keys import sign, signing_key
from steps.register.chain import PURPOSE, head_tags, write_head
from steps.zenml_runtime.local_store import runs_here
from steps.zenml_runtime.machine import installed_packages, this_machine
from steps.zenml_runtime.state import state_folder
from steps.zenml_runtime.tracker import use_tracker

_RECORD, _PAGE = "run_record", "run_page"
_REGISTER = "register_step"
# ZenML's name for a stored HTMLString.
_PAGE_FILE = "output.html"


def chained(run: Any, record: RunRecord, page: str) -> RunRecord:
    """The record with the digests of all other files of its artifacts, the runs it stands on, and where it ran.

    `run`: ZenML's PipelineRunResponse, within its last step; `page`: as it will be stored.
    """
    store = artifacts_in(run, record)
    around = (a for name in (START, DATASET) if name in run.steps for a in outputs_of(run.steps[name]))
    drawn = ArtifactRecord(
        step=FINISH, name=_PAGE, type="file", uri=_own_uri(_PAGE), beside={_PAGE_FILE: text_digest(page)}
    )
    return record.model_copy(
        update={
            "artifacts": tuple(_with_beside(store, record.artifacts)),
            "around": (*_with_beside(store, around), drawn),
            "earlier": tuple(_earlier(run, record)),
            "machines": {**record.machines, FINISH: this_machine()},
            "packages": installed_packages(),
        }
    )


def put_head(run: Any, record: RunRecord) -> None:
    """Sign the record's digest, and tag the registered version with it. Of a registration from the cache that is done
    already, unless the run that made it died before.

    Raises:
        ServiceError: the registry can't be reached, or refuses.
    """
    if record.registration is None or (_REGISTER in record.cached_steps and _was_finished(record)):
        return
    store = artifacts_in(run, record)
    head = text_digest(as_json(record))
    key = signing_key(state_folder() if runs_here() else None)
    signed = sign(key, PURPOSE, head) if key is not None else None
    use_tracker()
    tags = head_tags(head, f"{_own_uri(_RECORD)}/{layout.VALUE}", signed)
    write_head(record.registration, tags, lambda uri, sha256: store.digest_of(uri) == sha256)


def _own_uri(name: str) -> str:
    return str(get_step_context().get_output_artifact_uri(name))


def _with_beside(store: Artifacts, artifacts: Iterable[ArtifactRecord]) -> Iterable[ArtifactRecord]:
    return (a.model_copy(update={"beside": _beside(store, a)}) for a in artifacts)


def _beside(store: Artifacts, artifact: ArtifactRecord) -> dict[str, str]:
    """Of one from the cache that was damaged since nothing is kept: an audit names it by its main file."""
    try:
        return beside(store, artifact)
    except (IntegrityError, InputNotFoundError):
        return {}


def _earlier(run: Any, record: RunRecord) -> Iterable[EarlierRun]:
    """Those whose results were taken over, in the order of the steps, then the one that made the dataset."""
    made: dict[str, list[str]] = {}
    for a in record.artifacts:
        if a.made_by and a.step not in made.setdefault(a.made_by, []):
            made[a.made_by].append(a.step)
    if maker := dataset_maker(run):
        made.setdefault(maker, [])
    found = ((_run(run_id), steps) for run_id, steps in made.items())
    return [_link(earlier, tuple(steps)) for earlier, steps in found if earlier is not None]


def _run(run_id: str) -> Any:
    """A run of ZenML's store; None where it was removed."""
    found = Client().list_pipeline_runs(id=UUID(run_id), size=1, hydrate=True).items
    return found[0] if found else None


def _link(run: Any, made: tuple[str, ...]) -> EarlierRun:
    outputs = _finished(run)
    if outputs is None:
        return EarlierRun(run_id=str(run.id), name=run.name, made=made)
    stored = outputs[_RECORD][0]
    return EarlierRun(
        run_id=str(run.id),
        name=run.name,
        made=made,
        record_uri=f"{stored.uri}/{layout.VALUE}",
        sha256=stored.run_metadata.get(layout.SHA256),
    )


def _finished(run: Any) -> Any:
    """Outputs of a run's last step; None when it didn't get so far."""
    last = run.steps.get(FINISH)
    return last.outputs if last is not None and last.status.value == "completed" else None


def _was_finished(record: RunRecord) -> bool:
    """Whether the run that the registration was taken from ended well."""
    maker = next((a.made_by for a in record.of_type("registration") if a.made_by), None)
    run = _run(maker) if maker else None
    return run is not None and _finished(run) is not None
