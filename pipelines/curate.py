"""From sources to a dataset version in which every row is accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.config import RunConfig
from pipelines.start import Started
from pipelines.step_names import share_step
from steps.augment.step import augment_step
from steps.dedup.step import dedup_step
from steps.ingest.step import ingest_step
from steps.judge.step import judge_share_step, judge_step
from steps.leakcheck.step import leakcheck_step
from steps.prefer.step import prefer_step
from steps.review.step import review_step
from steps.screen.step import screen_share_step, screen_step
from steps.scrub.step import scrub_share_step, scrub_step
from steps.semantic.step import semantic_step
from steps.split.step import split_step
from steps.synthesize.step import synthesize_step


@dataclass
class Chain:
    """Handles of the rows as they go on, of what was set aside, and of the reports, in order."""

    rows: Any = None
    reports: list[Any] = field(default_factory=list)
    aside: list[Any] = field(default_factory=list)

    def add(self, done: Any) -> None:
        """The outputs of the next stage."""
        self.rows = done.rows
        self.reports.append(done.report)
        if hasattr(done, "quarantined"):
            self.aside.append(done.quarantined)


def curated(config: RunConfig, start: Started, shares: Mapping[str, int] | None = None) -> Chain:
    """Chain the curation stages that the config asks for. `shares`: by stage, steps that its row-wise work is spread
    over, in a dynamic pipeline.
    """
    spread = shares or {}
    keep, scrubbed = config.reuse is not None, config.runs("scrub")
    # Of what models write as of what people wrote.
    searched = config.scrub.model_dump_json() if config.scrub is not None and scrubbed else ""
    chain = Chain()
    chain.add(ingest_step(config.ingest, start.inputs("ingest")))
    if config.runs("dedup"):
        chain.add(dedup_step(chain.rows, config.dedup, keep))
    chain.add(split_step(chain.rows, config.split))
    if config.runs("scrub"):
        _compute_shares(scrub_share_step, "scrub", spread, chain.rows, config.scrub, start.key_id)
        chain.add(scrub_step(chain.rows, config.scrub, start.key_id))
    if config.runs("synthesize"):
        chain.add(synthesize_step(chain.rows, config.synthesize, searched, start.key_id, start.inputs("synthesize")))
    if config.runs("augment"):
        chain.add(augment_step(chain.rows, config.augment, searched, start.key_id, start.inputs("augment")))
    if config.runs("prefer"):
        chain.add(prefer_step(chain.rows, config.prefer, searched, start.key_id, start.inputs("prefer")))
    if config.runs("screen"):
        kept = keep and config.screen.asks_models
        _compute_shares(screen_share_step, "screen", spread, chain.rows, config.screen)
        chain.add(screen_step(chain.rows, config.screen, scrubbed, start.inputs("screen"), kept))
    if config.runs("semantic"):
        chain.add(semantic_step(chain.rows, config.semantic, scrubbed, start.inputs("semantic"), keep))
    if config.runs("judge"):
        # A run that asks no registered model is no other one because its training does.
        asked = (start.inputs("judge"), start.asked_models if config.judge.registered else {})
        _compute_shares(judge_share_step, "judge", spread, chain.rows, config.judge, scrubbed, *asked)
        chain.add(judge_step(chain.rows, config.judge, scrubbed, *asked))
    if config.runs("review"):
        chain.add(review_step(chain.rows, chain.aside, config.review, start.inputs("review"), start.search))
    if config.runs("leakcheck"):
        chain.add(leakcheck_step(chain.rows, config.leakcheck, start.inputs("leakcheck"), scrubbed))
    return chain


def _compute_shares(step: Any, stage: str, spread: Mapping[str, int], *given: Any) -> None:
    """Steps side by side, each with its share of the rows; the first that fails ends the run. None where the stage
    isn't spread.
    """
    shares = spread.get(stage, 0)
    for future in [step.submit(*given, n, shares, id=share_step(stage, n)) for n in range(shares)]:
        future.result()
