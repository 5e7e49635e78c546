"""Whether a reward and what it stands for part: reward hacking, as far as a held-out grader sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Point:
    """A held-out score (mean, 95 % interval) after a step, and the mean reward in training since the point before."""

    step: int
    score: float
    low: float
    high: float
    reward: float | None


def points_of(first: Mapping[str, float] | None, history: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The points of a log; `first`: what was measured before the first step."""
    found, rewards = list[Point](), list[float]()
    for entry in ({**(first or {}), "step": 0}, *history):
        if isinstance(entry.get("reward"), float):
            rewards.append(entry["reward"])
        if "eval_score" in entry and not (found and entry["step"] == found[-1].step):
            mean = sum(rewards) / len(rewards) if rewards else None
            found.append(
                Point(int(entry["step"]), entry["eval_score"], entry["eval_score_low"], entry["eval_score_high"], mean)
            )
            rewards = []
    return found


def parted(points: Sequence[Point], grader: str) -> list[str]:
    """A warning where the last held-out score lies below the best one, intervals apart, and the reward in training has
    not fallen since. The first point has no reward: it is held against the second's.
    """
    if len(points) < 2:
        return []
    last, best = points[-1], max(points[:-1], key=lambda p: p.score)
    at_best = best.reward if best.reward is not None else points[1].reward
    if last.reward is None or at_best is None or last.high >= best.low or last.reward < at_best:
        return []
    was, now = (f"{p.score:.3f} [{p.low:.3f}, {p.high:.3f}]" for p in (best, last))
    return [
        f"reward hacking is likely: from step {best.step} to {last.step} held-out {grader} fell from {was} to {now},"
        f" while the reward in training went from {at_best:.3f} to {last.reward:.3f}; look at answers, raise beta, or"
        " reward what is graded"
    ]
