"""Unsafe and poisoned content of a row: one scan per text for all patterns, then a look at the sentences found."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.errors import ConfigError
from steps.contracts.records import Row
from steps.engines.rows.segments import segments
from steps.engines.scan.coded import CODED
from steps.engines.scan.patterns import Hit, Pattern, PatternSet
from steps.engines.scan.visible import DISGUISED, hits_as_seen
from steps.screen.config import Action, PoisonedConfig, ScreenConfig, Severity
from steps.screen.poison import Rule, rules
from steps.screen.terms import term_patterns
from steps.screen.use_and_mention import ATTACK_CUES, ORDER_CUES, WORD_CUES, HitContext

# What base64 or hexadecimal says may be anybody's text.
_RUN = re.compile("[A-Za-z0-9+/]{24}")
_SEVERITIES: dict[str, Severity] = {"slur": "high", "strong": "medium", "mild": "low"}


@dataclass(frozen=True)
class ContentHit:
    """A hit of a rule in one text of a row, and what follows from it."""

    rule: str
    path: str
    start: int
    end: int
    mention: bool
    severity: Severity
    action: Action
    # What of the found text may be shown; never words around it.
    sample: str

    @property
    def category(self) -> str:
        """prompt_injection, control_tokens, script_injection, sql_injection, slur or profanity."""
        return self.rule.partition(".")[0]


@dataclass(frozen=True)
class _Traits:
    """What a pattern's hits mean. `part` is "unsafe" or "poisoned"."""

    part: str
    severity: Severity
    action: Action
    weak: bool = False
    anywhere: bool = False
    shown: bool = False


class ContentScanner:
    """All patterns that the config leaves on."""

    def __init__(self, config: ScreenConfig) -> None:
        self.config = config
        patterns: list[Pattern] = []
        self._traits: list[_Traits] = []
        for pattern, traits in [*_unsafe(config), *_poisoned(config)]:
            if traits.action != "off":
                patterns.append(pattern)
                self._traits.append(traits)
        self._set = PatternSet(patterns, "screen", also=[CODED, DISGUISED])
        self._allowed = {w.casefold() for w in config.unsafe.allow} if config.unsafe else set()
        self._spare_rejected = config.unsafe is None or not config.unsafe.rejected

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """All patterns that are on."""
        return self._set.patterns

    def texts_matching(self, texts: pa.Array) -> Mask:
        """Which of the texts (strings without nulls, shape (n,)) `find` may find something in; all that it does."""
        return self._set.texts_matching(texts)

    def find(self, row: Row) -> list[ContentHit]:
        """Hits in messages, tool calls, tools and documents (not in meta), in text order."""
        split = row["split"] or "train"
        parts = {
            name
            for name, part in (("unsafe", self.config.unsafe), ("poisoned", self.config.poisoned))
            if part is not None and split in part.splits
        }
        found: list[ContentHit] = []
        spared = _unwanted(row) if self._spare_rejected else ()
        for segment in segments(row) if parts else ():
            if segment.path.startswith("meta"):
                continue
            context = HitContext(segment.text)
            for hit in self._hits(segment.text):
                part = self._traits[hit.pattern].part
                if part in parts and not (part == "unsafe" and segment.path.startswith(spared)):
                    found += self._judged(hit, segment.path, context)
        return found

    def _hits(self, text: str) -> list[Hit]:
        """Hits that aren't allowed and don't lie within another of an earlier pattern of the same part."""
        kept: dict[str, list[Hit]] = {"unsafe": [], "poisoned": []}
        for pattern, hits in groupby(hits_as_seen(self._set, text), key=lambda h: h.pattern):
            part = self._traits[pattern].part
            allowed = self._allowed if part == "unsafe" else frozenset[str]()
            kept[part] += _outside(kept[part], (h for h in hits if text[h.start : h.end].casefold() not in allowed))
        return sorted((h for part in kept.values() for h in part), key=lambda h: (h.start, h.pattern))

    def _judged(self, hit: Hit, path: str, context: HitContext) -> list[ContentHit]:
        traits = self._traits[hit.pattern]
        action: Action = "flag" if traits.weak else traits.action
        rule = self._set.patterns[hit.pattern].name
        cues = WORD_CUES if traits.part == "unsafe" else ORDER_CUES if _is_order(rule) else ATTACK_CUES
        mention = not traits.anywhere and context.is_mention(hit.start, hit.end, cues)
        if mention and self.config.mentions == "off":
            return []
        if mention and self.config.mentions == "flag":
            action = "flag"
        shows = traits.shown or traits.part == "unsafe"
        sample = sampled(context.text[hit.start : hit.end], traits.shown) if shows else ""
        return [ContentHit(rule, path, hit.start, hit.end, mention, traits.severity, action, sample)]


def _unwanted(row: Row) -> tuple[str, ...]:
    """Where a row shows what not to say: the rejected answer, or the one that is labelled as unwanted."""
    if row.get("label") is not False:
        return ("rejected/",)
    return tuple(f"messages/{i}/" for i, m in enumerate(row["messages"]) if m["role"] == "assistant")


def _outside(kept: Sequence[Hit], hits: Iterable[Hit]) -> list[Hit]:
    """Hits (by start, the longer of two first) that lie within none of the kept ones, and not within one another."""
    spans = sorted((k.start, k.end) for k in kept)
    starts = [start for start, _ in spans]
    furthest = list(accumulate((end for _, end in spans), max))
    found: list[Hit] = []
    last = -1
    for hit in hits:
        before = bisect_right(starts, hit.start)
        if hit.end > max(last, furthest[before - 1] if before else -1):
            found.append(hit)
            last = hit.end
    return found


def sampled(found: str, shown: bool) -> str:
    """What may be shown of a found text: its beginning, or its first letter and three stars; of coded text nothing."""
    value = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(found.split()))
    if shown and _RUN.search(value):
        return f"{len(found)} coded characters"
    return value[:80] if shown else f"{value[:1]}***"


def _is_order(rule: str) -> bool:
    return rule.startswith("prompt_injection.")


def _unsafe(config: ScreenConfig) -> list[tuple[Pattern, _Traits]]:
    unsafe = config.unsafe
    if unsafe is None:
        return []
    actions: dict[str, Action] = {"slur": unsafe.slur, "strong": unsafe.strong, "mild": unsafe.mild}
    return [(pattern, _Traits("unsafe", _SEVERITIES[term], actions[term])) for term, pattern in term_patterns(unsafe)]


def _poisoned(config: ScreenConfig) -> list[tuple[Pattern, _Traits]]:
    poisoned = config.poisoned
    if poisoned is None:
        return []
    builtin = rules()
    unknown = sorted(set(poisoned.allow) - {r.pattern.name for r in builtin})
    if unknown:
        raise ConfigError(
            f"no such rule: {unknown[0]}",
            where="screen.poisoned.allow",
            hint="known: " + ", ".join(sorted(r.pattern.name for r in builtin)),
        )
    return [(r.pattern, _traits_of(r, poisoned)) for r in builtin if r.pattern.name not in poisoned.allow]


def _traits_of(rule: Rule, config: PoisonedConfig) -> _Traits:
    action: Action = getattr(config, rule.category)
    # What these patterns match are their own words; others can span text of the row, which is not shown.
    shown = rule.category == "prompt_injection" and not rule.pattern.name.endswith("exfiltrate")
    return _Traits("poisoned", "low" if rule.weak else "high", action, rule.weak, rule.anywhere, shown)


def worst(found: Sequence[ContentHit]) -> ContentHit | None:
    """The hit that decides about the row: drop before quarantine before flag, then the first in the row."""
    order = {"drop": 0, "quarantine": 1, "flag": 2, "off": 3}
    return min(found, key=lambda f: order[f.action], default=None)
