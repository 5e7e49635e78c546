"""What screening finds in one row: a pure function of the row and the config, to cache between runs if one likes.

`Screener(config).screen(row)` reads kind, messages, tools, chosen, rejected, text, label and split, and nothing else:
the same for equal values of these, whatever the row's id, place, neighbours and run. `ScreenResult.as_json` and
`from_json` are inverse. `prescan.Prescan` finds the rows that need it at hundreds of MB per CPU second, so that only
rows that it names are worth caching.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from steps.contracts.records import Row
from steps.screen.config import Action, LanguageConfig, ScreenConfig
from steps.screen.language import UNDECIDED, Identified, Languages
from steps.screen.rules import Rules
from steps.screen.scan import ContentHit, ContentScanner, worst

# What a decision does; "undecided" keeps the row, and says that nothing could be found out.
DecidedAction: TypeAlias = Action | Literal["undecided"]
# From the strongest.
STRENGTH: tuple[str, ...] = ("drop", "quarantine", "flag", "undecided", "off")
# Chosen: a hostile row may hold thousands of hits; the ledger names the first ones and counts all.
_HITS_IN_LEDGER = 50


@dataclass(frozen=True)
class Decision:
    """Action, reason code, the measured value if there is one, and the evidence for the ledger (JSON values)."""

    action: DecidedAction
    reason: str
    score: float | None
    evidence: dict[str, Any]


@dataclass(frozen=True)
class ScreenResult:
    """All hits in a row, the decision that follows from everything (None: nothing is to be said), and its language.

    `language` is None where it isn't asked for: in another split, in a row that is taken out anyway.
    """

    found: tuple[ContentHit, ...]
    decision: Decision | None
    language: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "found": [dict(vars(f)) for f in self.found],
            "decision": dict(vars(self.decision)) if self.decision is not None else None,
            "language": self.language,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `as_json` was made from."""
        decision = value["decision"]
        found = tuple(ContentHit(**f) for f in value["found"])
        return cls(found, Decision(**decision) if decision else None, value["language"])


PASSED = ScreenResult((), None)


class Screener:
    """A config's rules and patterns, compiled.

    Raises:
        ConfigError: a pattern that RE2 refuses, an unknown name in an allow list, an unknown language.
        MissingDependencyError: the tokenizer of the rules isn't there.
    """

    def __init__(self, config: ScreenConfig) -> None:
        self.scanner = ContentScanner(config)
        self._rules = Rules(config.rules) if config.rules is not None and config.rules.action != "off" else None
        self._languages = Languages(config.language) if config.language is not None else None

    def screen(self, row: Row, *, rules: bool = True) -> ScreenResult:
        """The strongest of what rules, scan and language say about the row.

        `rules`: False where the first pass has shown that none fails; the result is the same, and cheaper.
        """
        found = tuple(self.scanner.find(row))
        decisions = [d for d in (self._by_rules(row) if rules else None, _by_scan(found)) if d is not None]
        first = min(decisions, key=lambda d: STRENGTH.index(d.action), default=None)
        if first is not None and first.action in ("drop", "quarantine"):
            return ScreenResult(found, first)
        return self._with_language(row, ScreenResult(found, first))

    def _with_language(self, row: Row, result: ScreenResult) -> ScreenResult:
        languages = self._languages
        if languages is None or (row["split"] or "train") not in languages.config.splits:
            return result
        identified = languages.identify(row)
        return ScreenResult(
            result.found, _by_language(identified, languages.config, result.decision), identified.language
        )

    def _by_rules(self, row: Row) -> Decision | None:
        rules = self._rules
        if rules is None or (row["split"] or "train") not in rules.config.splits:
            return None
        failure = rules.first_failure(row)
        if failure is None:
            return None
        return Decision(rules.config.action, failure[0], failure[1], {"rule": failure[0], "value": failure[1]})


def _by_scan(found: tuple[ContentHit, ...]) -> Decision | None:
    first = worst(found)
    if first is None:
        return None
    hits = [_hit(f) for f in found[:_HITS_IN_LEDGER]]
    return Decision(first.action, first.rule, None, {"hits": hits, "count": len(found)})


def _by_language(identified: Identified, config: LanguageConfig, flagged: Decision | None) -> Decision | None:
    """What follows for a row that is kept, or kept and flagged, so far."""
    if identified.language == UNDECIDED:
        action: DecidedAction = "undecided" if config.undecided == "keep" else config.undecided
    elif identified.language in config.keep or config.action == "off":
        return flagged
    else:
        action = config.action
    if flagged is not None and STRENGTH.index(flagged.action) <= STRENGTH.index(action):
        return flagged
    evidence = {
        **(flagged.evidence if flagged else {}),
        "language": identified.language,
        "probability": identified.probability,
    }
    return Decision(action, f"language.{identified.language}", identified.probability, evidence)


def _hit(found: ContentHit) -> list[str | int]:
    use = "mention" if found.mention else "use"
    return [found.rule, found.path, found.start, found.end, use, found.severity]
