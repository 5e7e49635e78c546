"""From logs of production to a decision: is the model still asked what it was trained for, and does it answer well?"""

from typing import Any

from pipelines.config import RunConfig
from pipelines.dataset import dataset_step
from pipelines.start import Started
from steps.judge.step import judge_step
from steps.logs.step import logs_step
from steps.monitor.step import monitor_candidates_step, monitor_sample_step, monitor_step
from steps.scrub.step import scrub_step


def monitored(config: RunConfig, start: Started) -> Any:
    """Read the logs, scrub them, have a sample judged where there is a judge, decide. Returns what is made last."""
    assert config.scrub is not None
    training = dataset_step(start.dataset)
    logged = logs_step(config.logs, start.inputs("logs"))
    rows = scrub_step(logged.rows, config.scrub, start.key_id).rows
    verdicts = []
    if config.runs("judge"):
        asked = start.asked_models if config.judge.registered else {}
        sample = monitor_sample_step(rows, logged.facts, config.monitor, start.answering)
        verdicts.append(judge_step(sample, config.judge, True, start.inputs("judge"), asked).verdicts)
    done = monitor_step(
        rows,
        logged.facts,
        training,
        config.monitor,
        start.answering,
        config.scrub.mode,
        verdicts,
        config.judge.threshold,
        start.inputs("monitor"),
    )
    folder = config.monitor.candidates.folder
    return done.monitored if folder is None else monitor_candidates_step(done.candidates, folder)
