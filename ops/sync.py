"""The index of runs is a copy: it can be made anew from ZenML's store and the artifact stores at any time.

So it also gets to know runs that were started elsewhere, were killed, or went on after the command that started them.
"""

from pathlib import Path
from uuid import UUID

from ops.run_index import report_path, save_run
from steps.contracts.runs import RunRecord
from steps.contracts.storage import write_whole


def refresh(root: Path, run_id: UUID) -> RunRecord:
    """Bring one run of ZenML's store into the index: as its last step wrote it down, else as far as it is known."""
    from zenml.client import Client

    from pipelines.record import config_yaml_of, record_of, stored

    run = Client().get_pipeline_run(run_id)
    kept = stored(run)
    record = kept[0] if kept else record_of(run)
    save_run(root, record, config_yaml_of(run))
    if kept:
        write_whole(report_path(root, record.name), kept[1])
    return record
