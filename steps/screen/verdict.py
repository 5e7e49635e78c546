"""What screening says about one row: a pure function of the row and the config, to keep between runs if one likes.

`Screener(config).verdict(row)` reads kind, messages, tools, chosen, rejected, text and split, and nothing else:
the same for equal values of these, whatever the row's id, place, neighbours and run. `Verdict.as_json` and
`from_json` are inverse. This is the place to put a memory of row results around; but `prescan.Prescan` finds the rows
that need a verdict at hundreds of MB per CPU second, so that only rows that it names are worth remembering.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from steps.contracts.records import Row
from steps.screen.config import Action, ScreenConfig
from steps.screen.rules import Rules
from steps.screen.scan import ContentScanner, Found, worst

# From the strongest; "off" never decides.
STRENGTH: tuple[Action, ...] = ("drop", "quarantine", "flag")
# Chosen: a hostile row may hold thousands of hits; the ledger names the first ones and counts all.
_HITS_IN_LEDGER = 50


@dataclass(frozen=True)
class Decision:
    """Action, reason code, the measured value if there is one, and the evidence for the ledger (JSON values)."""

    action: Action
    reason: str
    score: float | None
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """All hits in a row, and the decision that follows from hits and rules; None: nothing is to be said."""

    found: tuple[Found, ...]
    decision: Decision | None

    def as_json(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `as_json` was made from."""
        decision = value["decision"]
        return cls(tuple(Found(**f) for f in value["found"]), Decision(**decision) if decision else None)


PASSED = Verdict((), None)


class Screener:
    """A config's rules and patterns, compiled.

    Raises:
        ConfigError: a pattern that RE2 refuses, or an unknown name in an allow list.
        MissingDependencyError: the tokenizer of the rules isn't there.
    """

    def __init__(self, config: ScreenConfig) -> None:
        self.scanner = ContentScanner(config)
        self._rules = Rules(config.rules) if config.rules is not None and config.rules.action != "off" else None

    def verdict(self, row: Row) -> Verdict:
        """The strongest of what the rules and the scan say about the row."""
        found = tuple(self.scanner.find(row))
        decisions = [d for d in (self._by_rules(row), _by_scan(found)) if d is not None]
        return Verdict(found, min(decisions, key=lambda d: STRENGTH.index(d.action), default=None))

    def _by_rules(self, row: Row) -> Decision | None:
        rules = self._rules
        if rules is None or (row["split"] or "train") not in rules.config.splits:
            return None
        failure = rules.first_failure(row)
        if failure is None:
            return None
        return Decision(rules.config.action, failure[0], failure[1], {"rule": failure[0], "value": failure[1]})


def _by_scan(found: tuple[Found, ...]) -> Decision | None:
    first = worst(found)
    if first is None:
        return None
    hits = [_hit(f) for f in found[:_HITS_IN_LEDGER]]
    return Decision(first.action, first.rule, None, {"hits": hits, "count": len(found)})


def _hit(found: Found) -> list[str | int]:
    use = "mention" if found.mention else "use"
    return [found.rule, found.path, found.start, found.end, use, found.severity]
