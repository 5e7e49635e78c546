"""What a run cost the process that started it and its children."""

import resource
from uuid import UUID

from zenml import log_metadata

# Its entry in a run's metadata: CPU seconds and peak memory, where all steps ran in one process or in children of it.
USAGE = "usage"


def note_usage(run_id: UUID) -> None:
    """Keep with a run what this process cost so far."""
    cpu_seconds, peak_mb = process_usage()
    log_metadata(
        {USAGE: {"cpu_seconds": round(cpu_seconds, 1), "peak_mb": round(peak_mb)}}, run_id_name_or_prefix=run_id
    )


def process_usage() -> tuple[float, float]:
    """(CPU seconds, peak MB) of this process since it started. A finished child counts in both; a peak isn't a sum."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return seconds, max(own.ru_maxrss, children.ru_maxrss) / 1024
