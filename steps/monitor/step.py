"""The steps of the monitor."""

from typing import Annotated, Any, NamedTuple

import materializers.all  # noqa: F401 - says how the outputs are stored
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import Ledger
from steps.contracts.monitoring import Monitored
from steps.contracts.reports import StageReport
from steps.engines.embed.config import CACHE
from steps.monitor.config import MonitorConfig
from steps.zenml_runtime.context import source_root, stage_context
from steps.zenml_runtime.models import load_models
from steps.zenml_runtime.outputs import outputs
from steps.zenml_runtime.step import assay_step, cache_key, uncached_step


class MonitorOutputs(NamedTuple):
    """The outputs."""

    ledger: Annotated[Ledger, "monitor_ledger"]
    report: Annotated[StageReport, "monitor_report"]
    monitored: Annotated[Monitored, "monitored"]
    candidates: Annotated[Dataset, "candidates"]


def key() -> str:
    """Cache key of these steps."""
    return cache_key(__name__, ["faiss-cpu", "numpy", "py3langid", "sentence-transformers", "transformers"])


@assay_step(key)
def monitor_sample_step(
    rows: Dataset, facts: FileArtifact, config: MonitorConfig, answering: dict[str, str]
) -> Annotated[Dataset, "monitor_sample"]:
    """Answered requests of the newest window, for the judge."""
    from steps.monitor.monitor import sample

    return sample(rows, facts.path, config, stage_context("monitor_sample", key()), answering["weights"])


@assay_step(key)
def monitor_step(
    rows: Dataset,
    facts: FileArtifact,
    training: Dataset,
    config: MonitorConfig,
    answering: dict[str, str],
    mode: str,
    verdicts: list[FileArtifact],
    threshold: float,
    inputs: dict[str, str],
) -> MonitorOutputs:
    """Hold the newest window against the training data. `answering`: what the run's first step found of the model;
    `mode`: of scrub; `verdicts`: the judge's, if there is one; `inputs`: digests of the files and models read.
    """
    from steps.monitor.monitor import Answering, monitor

    over, model = load_models(answering["run"], answering["weights"]) if answering["weights"] else (None, None)
    done = monitor(
        rows,
        config,
        stage_context("monitor", key(), cache=CACHE, inputs=inputs),
        facts=facts.path,
        training=training,
        answering=Answering(answering["weights"], bool(answering["scrubbed"]), model, over),
        mode=mode,
        verdicts=verdicts[0].path if verdicts else None,
        threshold=threshold,
    )
    return outputs(MonitorOutputs, done)


@uncached_step
def monitor_candidates_step(candidates: Dataset, folder: str) -> Annotated[dict[str, Any], "published_candidates"]:
    """Add the candidates to the folder that the config names."""
    from steps.monitor.candidates import publish

    return {"folder": folder, "added": publish(candidates, source_root() / folder), "candidates": candidates.rows}
