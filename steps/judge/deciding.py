"""What follows from a verdict."""

from collections.abc import Mapping

from steps.engines.rowwise.undecided import becomes
from steps.engines.rubric.case import Criterion, Score
from steps.judge.config import JudgeConfig
from steps.judge.verdict import MAX_SCORE, JudgeVerdict

HELD_OUT = ("validation", "test")
# A pair's rejected answer has the higher share.
REJECTED_WINS = "rejected_wins"


def keeps(config: JudgeConfig, scores: Mapping[Criterion, Score]) -> bool:
    """Whether a row with these scores reaches the threshold, and none of them is too low."""
    share = sum(scores.values()) / (MAX_SCORE * len(scores))
    return round(share, 9) >= config.threshold and min(scores.values()) >= config.min_criterion_score


def compared(chosen: float, rejected: float) -> str:
    """Which answer of a pair has the higher share: chosen, rejected, neither."""
    difference = round(chosen - rejected, 9)
    return "neither" if difference == 0 else "chosen" if difference > 0 else "rejected"


def decide(
    split: str | None, verdict: JudgeVerdict, config: JudgeConfig, label: bool | None = None
) -> tuple[str, str | None]:
    """What becomes of a row (kept, dropped, quarantined), and the reason code when there is something to say.

    Where fixed signals judged, the code is the name of the signal that decided; of a row that stays, of the first one.
    An answer that is labelled as unwanted is meant to be a bad one: its scores are recorded, and it stays.
    """
    if verdict.share is None:
        stays = split in HELD_OUT or becomes(config.undecided) == "undecided"
        return ("kept" if stays else becomes(config.undecided)), f"undecided:{verdict.error}"
    if label is False:
        return "kept", None
    criterion, lowest = verdict.lowest
    signal = verdict.signals(criterion)[:1]
    loses = verdict.rejected_share is not None and compared(verdict.share, verdict.rejected_share) == "rejected"
    stays = split in HELD_OUT
    if lowest < config.min_criterion_score:
        reason = signal[0] if signal else f"low_{criterion}"
    # The sum is compared in whole points, so that 0.8 of 20 is 16 whatever floating point says.
    elif round(verdict.share, 9) < config.threshold:
        reason = "below_threshold"
    elif loses:
        stays, reason = stays or config.rejected == "flag", REJECTED_WINS
    else:
        return "kept", signal[0] if signal and lowest < MAX_SCORE else None
    return ("kept", REJECTED_WINS if loses else reason) if stays else ("dropped", reason)
