"""A look at data: every stage over all rows, none of which it takes away, and the report on what they found."""

from typing import Any

from pipelines.config import RunConfig
from pipelines.dataset import dataset_step
from pipelines.start import Started
from steps.data_report.step import data_report_step
from steps.dedup.step import dedup_step
from steps.ingest.step import ingest_step
from steps.judge.step import judge_step
from steps.leakcheck.step import leakcheck_step
from steps.screen.step import screen_step
from steps.scrub.step import scrub_step
from steps.semantic.step import semantic_step


def described(config: RunConfig, start: Started) -> Any:
    """The stages that the config asks for side by side, each on the rows as they were read; those that show text on the
    scrubbed ones. Returns the report.
    """
    scrubbed = config.runs("scrub")
    done: dict[str, Any] = {}
    if config.curates:
        done["ingest"] = ingest_step(config.ingest, start.inputs("ingest"))
    rows = done["ingest"].rows if config.curates else dataset_step(start.dataset)
    if config.runs("dedup"):
        done["dedup"] = dedup_step(rows, config.dedup, False)
    if scrubbed:
        done["scrub"] = scrub_step(rows, config.scrub, start.key_id)
    texts = done["scrub"].rows if scrubbed else rows
    if config.runs("screen"):
        done["screen"] = screen_step(texts, config.screen, scrubbed, start.inputs("screen"), False)
    if config.runs("semantic"):
        done["semantic"] = semantic_step(texts, config.semantic, scrubbed, start.inputs("semantic"), False)
    if config.runs("judge"):
        asked = start.asked_models if config.judge.registered else {}
        done["judge"] = judge_step(texts, config.judge, scrubbed, start.inputs("judge"), asked)
    if config.runs("leakcheck"):
        done["leakcheck"] = leakcheck_step(texts, config.leakcheck, start.inputs("leakcheck"), scrubbed)
    return data_report_step(
        rows,
        texts,
        config.data_report,
        scrubbed,
        list(done),
        [stage.ledger for stage in done.values()],
        [done["judge"].verdicts] if "judge" in done else [],
        [done["ingest"].rejects] if "ingest" in done else [],
        start.inputs("data_report"),
    ).data_report
