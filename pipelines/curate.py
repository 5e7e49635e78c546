"""From sources to a dataset version in which every row is accounted for."""

from dataclasses import dataclass
from typing import Any

from pipelines.config import RunConfig
from pipelines.start import Started
from steps.dedup.step import dedup_step
from steps.ingest.step import ingest_step
from steps.judge.step import judge_step
from steps.leakcheck.step import leakcheck_step
from steps.review.step import review_step
from steps.screen.step import screen_step
from steps.scrub.step import scrub_step
from steps.semantic.step import semantic_step
from steps.split.step import split_step


@dataclass(frozen=True)
class Curated:
    """Handles of a curated dataset and of the reports of the stages that made it, in order."""

    dataset: Any
    reports: list[Any]


def curated(config: RunConfig, inputs: Started) -> Curated:
    """Chain the curation stages that the config doesn't skip."""
    rows, _, report, _, _ = ingest_step(config.ingest, inputs.sources)
    reports = [report]
    aside = []
    if "dedup" not in config.skip:
        rows, _, report, _ = dedup_step(rows, config.dedup, config.reuse is not None)
        reports.append(report)
    rows, _, report = split_step(rows, config.split)
    reports.append(report)
    if "scrub" not in config.skip:
        rows, quarantined, _, report, _ = scrub_step(rows, config.scrub, inputs.key_id)
        reports.append(report)
        aside.append(quarantined)
    if "screen" not in config.skip:
        models = inputs.models.get("screen", {})
        keep = config.reuse is not None and bool(config.screen.classifiers or config.screen.topics)
        rows, quarantined, _, report, _, _ = screen_step(
            rows, config.screen, "scrub" not in config.skip, models, keep
        )  # fmt: skip
        reports.append(report)
        aside.append(quarantined)
    if config.semantic is not None:
        models = inputs.models.get("semantic", {})
        keep = config.reuse is not None
        rows, quarantined, _, report, _ = semantic_step(
            rows, config.semantic, "scrub" not in config.skip, models, keep
        )  # fmt: skip
        reports.append(report)
        aside.append(quarantined)
    if "judge" not in config.skip:
        rows, quarantined, _, report, _, _ = judge_step(rows, config.judge, "scrub" not in config.skip)
        reports.append(report)
        aside.append(quarantined)
    if config.review.decisions:
        rows, _, report = review_step(rows, aside, config.review, inputs.decisions, inputs.search)
        reports.append(report)
    if "leakcheck" not in config.skip:
        rows, _, report = leakcheck_step(rows, config.leakcheck, inputs.benchmarks, "scrub" not in config.skip)
        reports.append(report)
    return Curated(rows, reports)
