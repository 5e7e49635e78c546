"""What screen's rules and patterns say about one row that a person wrote or edited, outside a run."""

import functools
from dataclasses import dataclass

from steps.contracts.context import StageContext
from steps.contracts.records import Row
from steps.screen.config import ScreenConfig
from steps.screen.screener import Screener


@dataclass(frozen=True)
class Rechecked:
    """What would become of the row.

    Attributes:
        decision: action and reason, such as "quarantine: slur"; "" when there is nothing to say.
        hits: as in the stage's ledger: rule, path, start, end, use or mention, severity.
        taken_out: whether the row would be dropped or quarantined.
    """

    decision: str = ""
    hits: tuple[tuple[str | int, ...], ...] = ()
    taken_out: bool = False


def recheck(row: Row, config: ScreenConfig, ctx: StageContext) -> Rechecked:
    """Decide as `screen` would; classifiers and topics are not asked. `ctx` as of `screen`: rules and patterns lie in
    the config.

    Raises:
        ConfigError: a pattern that RE2 refuses, an unknown name in an allow list, an unknown language.
        MissingDependencyError: the tokenizer of the rules isn't there.
    """
    decision = _screener(config.model_dump_json()).screen(row).decision
    if decision is None:
        return Rechecked()
    hits = tuple(tuple(hit) for hit in decision.evidence.get("hits", ()))
    return Rechecked(f"{decision.action}: {decision.reason}", hits, decision.action in ("drop", "quarantine"))


@functools.lru_cache(maxsize=1)
def _screener(config: str) -> Screener:
    """Made once for all rows of a review; `config` as JSON."""
    return Screener(ScreenConfig.model_validate_json(config))
