"""Whether there are enough rows for what they are to teach: a hint with its source, not a truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Yardstick:
    """How many rows somebody taught something with.

    Attributes:
        goal: what was taught. source: who did, with how many.
        unit: what is counted: rows, or tokens.
    """

    least: int
    goal: str
    source: str
    unit: str = "rows"


_PAIRS = (
    Yardstick(30_000, "people's preferences", "InstructGPT's reward model, arXiv 2203.02155: 33,000 prompts; Zephyr,"
              " arXiv 2310.16944: 64,000 pairs"),
)  # fmt: skip
_PROMPTS = (
    Yardstick(7_500, "reasoning by rewards", "GSM8K's train split, 7,473 questions; DeepSeekMath, arXiv 2402.03300:"
              " 144,000"),
)  # fmt: skip
YARDSTICKS: Mapping[str, Sequence[Yardstick]] = {
    "sft": (
        Yardstick(1_000, "a style or a format", "LIMA, arXiv 2305.11206: 1,000 chosen rows, of a 65B model"),
        Yardstick(10_000, "tasks", "InstructGPT, arXiv 2203.02155: 13,000 prompts"),
    ),
    "continued_pretraining": (
        Yardstick(2_000_000_000, "a domain", "Don't Stop Pretraining, arXiv 2004.10964, table 1: 2.1 to 8.1 billion"
                  " tokens per domain", "tokens"),
    ),
    "dpo": _PAIRS, "kto": _PAIRS, "orpo": _PAIRS, "reward": _PAIRS, "grpo": _PROMPTS, "rloo": _PROMPTS,
}  # fmt: skip
# Repeated data is worth almost as much as new one for so many passes.
_PASSES, _PASSES_SOURCE = 4, "arXiv 2305.16264, of pre-training"


def hints(objective: str, rows: int, tokens: float | None, passes: float) -> list[str]:
    """Each yardstick of the objective held against the data, in a sentence.

    Args:
        tokens: of all rows; None: not known. passes: over the rows.
    """
    found = []
    for yard in YARDSTICKS.get(objective, ()):
        count = tokens if yard.unit == "tokens" else rows
        if count is not None:
            verdict = "enough" if count >= yard.least else "few"
            found.append(f"{count:,.0f} {yard.unit} are {verdict} for {yard.goal} ({yard.source})")
    if passes > _PASSES:
        found.append(f"{passes:g} passes over the same rows: beyond {_PASSES} they add little ({_PASSES_SOURCE})")
    return found
