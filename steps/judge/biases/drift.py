"""Whether a judge scores as it did in the last run: the probe rows of both, side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from steps.contracts.digests import canonical_json, value_digest
from steps.contracts.evaluation import Estimate
from steps.contracts.reports import Table
from steps.engines.rubric.case import Case
from steps.judge.biases.probe_log import Probed
from steps.judge.biases.repeats import Said
from steps.judge.config import JudgeConfig
from steps.judge.deciding import keeps
from steps.judge.verdict import MAX_SCORE

# Fewer have no spread to tell an interval by.
FEWEST = 3


@dataclass(frozen=True)
class Shift:
    """One judge's probes beside those of an earlier run.

    Attributes:
        since: when they were asked. why: what of the settings is another; (): nothing.
        share: mean change of the share; decided: probes that are decided otherwise.
    """

    model: str
    since: str
    why: tuple[str, ...]
    share: Estimate
    decided: int


def probed(
    judge: str, alone: JudgeConfig, run: str, digest: str, cases: Sequence[Case], said: Sequence[Mapping[str, Said]],
    criteria: Sequence[str],
) -> Probed:  # fmt: skip
    """What one judge said of the probes. `alone`: its settings, and `digest` that of all that decides its verdicts;
    `run`: the occasion; `criteria`: all of the rubric.
    """
    scores = {
        case.content_id: dict(found)
        for case, by_judge in zip(cases, said, strict=True)
        if not isinstance(found := by_judge.get(judge, ""), str)
    }
    model, decoding = "", ""
    if alone.endpoint is not None:
        model, decoding = alone.endpoint.model, value_digest([alone.scoring, alone.endpoint.decoding()])
    elif alone.local is not None:
        model, decoding = alone.local.model, value_digest([alone.local.dtype, alone.local.device])
    asked_at = datetime.now(UTC).isoformat(timespec="microseconds")
    about = value_digest(sorted(criteria))
    return Probed(
        value_digest([run, judge]), asked_at, run, judge, about, model, decoding, digest, canonical_json(scores)
    )


def _others(now: Probed, before: Probed, alone: JudgeConfig) -> tuple[str, ...]:
    """What of the settings is another."""
    found = [f"model (it was {before.model})"] if now.model != before.model else []
    found += ["decoding"] if now.decoding != before.decoding else []
    if not found and now.settings != before.settings:
        found.append("prompt" if alone.endpoint is not None else "weights, libraries or prompt")
    return tuple(found)


def shift(now: Probed, before: Probed, alone: JudgeConfig) -> Shift | None:
    """The change, by the probes that both scored; None: too few of them. The interval is Student's, of the differences.
    `alone`: the judge's settings.
    """
    from scipy.special import stdtrit

    scores, earlier = now.by_probe, before.by_probe
    common = [(scores[p], earlier[p]) for p in scores if p in earlier and scores[p].keys() == earlier[p].keys()]
    if len(common) < FEWEST:
        return None
    changes = np.array([(sum(a.values()) - sum(b.values())) / (MAX_SCORE * len(a)) for a, b in common])
    value, n = float(changes.mean()), len(changes)
    width = float(stdtrit(n - 1, 0.975)) * float(changes.std(ddof=1)) / math.sqrt(n)
    why = _others(now, before, alone)
    share = Estimate(value=value, low=value - width, high=value + width, n=n)
    return Shift(now.model, before.asked_at, why, share, sum(keeps(alone, a) != keeps(alone, b) for a, b in common))


def drift_table(shifts: Sequence[Shift]) -> tuple[Table, ...]:
    """A line for each comparison."""
    rows = [
        (s.model, s.since[:16].replace("T", " "), ", ".join(s.why) or "nothing", s.share.n,
         *(round(v, 4) for v in (s.share.value, s.share.low, s.share.high)), s.decided)
        for s in shifts
    ]  # fmt: skip
    columns = (
        "judge",
        "against the run of",
        "what is another",
        "probe rows",
        "shift",
        "low",
        "high",
        "decided otherwise",
    )
    return (
        (Table(title="Drift on the probe rows", columns=columns, rows=tuple(rows), chapter="biases"),) if rows else ()
    )


def drift_warnings(shifts: Sequence[Shift], limit: float) -> tuple[str, ...]:
    """Shifts beyond the limit."""
    return tuple(
        f"{s.model} scores the probe rows by a share of {s.share.value:+.3f} [{s.share.low:+.3f}, {s.share.high:+.3f}]"
        f" against the run of {s.since[:16].replace('T', ' ')}: "
        + (f"another {', '.join(s.why)}." if s.why else "with the same settings, so that the server answers otherwise.")
        for s in shifts
        if abs(s.share.value) > limit
    )
