"""The last step of every run: its record and its page, made from ZenML's store and the artifact store, kept in both."""

from datetime import UTC, datetime
from typing import Annotated

from zenml.client import Client
from zenml.steps import get_step_context
from zenml.types import HTMLString

import materializers.all  # noqa: F401 - says how the outputs are stored
from pipelines.chain import chained, put_head
from pipelines.openlineage.tell import tell_completed
from pipelines.record import artifacts_in, page_of, record_of, with_sections
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.local_store import runs_in_one_process
from steps.zenml_runtime.step import uncached_step
from steps.zenml_runtime.usage import note_usage


@uncached_step
def finish_step() -> tuple[Annotated[RunRecord, "run_record"], Annotated[HTMLString, "run_page"]]:
    """Write down what the run did, when all its other steps have ended well, and sign it in the registry."""
    started = get_step_context().pipeline_run
    if runs_in_one_process(started):
        note_usage(started.id)
    run = Client().get_pipeline_run(started.id)
    seen = with_sections(run, record_of(run, ended=datetime.now(UTC)))
    page = page_of(run, seen)
    record = chained(run, seen, page)
    put_head(run, record)
    tell_completed(run, record, artifacts_in(run, record))
    return record, HTMLString(page)
