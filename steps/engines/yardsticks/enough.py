"""Whether there are enough rows for what they are to teach: a rule with its source, not a truth. A learning curve on
one's own data (`assay sweep configs/sweeps/learning_curve.yaml`) is better than any rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Goal: TypeAlias = Literal["style", "structured", "domain", "facts"]
# few: the rule wants more rows. retrieval: no number of rows is the way.
Enough: TypeAlias = Literal["enough", "few", "retrieval"]


@dataclass(frozen=True)
class Yardstick:
    """How many rows somebody taught something with.

    Attributes:
        least: None: rows are no measure of it.
        goal: what was taught. source: who did, with how many.
        rule: in words, of a goal that users can name; "" of the others.
        unit: what is counted: rows, or tokens.
    """

    least: int | None
    goal: str
    source: str
    rule: str = ""
    unit: str = "rows"

    def verdict(self, count: float) -> Enough:
        """On so many."""
        if self.least is None:
            return "retrieval"
        return "enough" if count >= self.least else "few"


# Where a source has a range, `least` is its lower end; 5,000 is chosen, the order of magnitude of what others had.
GOALS: Mapping[Goal, Yardstick] = {
    "style": Yardstick(
        200, "a style or a tone",
        "OpenAI's guide to tuning GPT-3: a couple of hundred at least; LIMA, arXiv 2305.11206: 1,000 chosen rows, of a"
        " 65B model",
        "hundreds of rows that all show it",
    ),
    "structured": Yardstick(
        1_000, "narrow structured output",
        "Yandex Cloud's guide to tuning classifiers: 1,000, and 100 of each class; IBM watsonx's: 100 to 1,000",
        "about a thousand rows, every class among them",
    ),
    "domain": Yardstick(
        5_000, "the tasks of a domain",
        "InstructGPT, arXiv 2203.02155: 13,000 prompts; When Scaling Meets LLM Finetuning, arXiv 2402.17193: quality"
        " rises with every doubling from thousands to millions",
        "thousands of rows and more",
    ),
    "facts": Yardstick(
        None, "facts",
        "Fine-Tuning or Retrieval?, arXiv 2312.05934: retrieval teaches new facts better; arXiv 2405.05904: facts"
        " that are new to a model are learnt slowly, and it makes up more of others",
        "retrieval, whatever the number of rows",
    ),
}  # fmt: skip
_PAIRS = (
    Yardstick(30_000, "people's preferences", "InstructGPT's reward model, arXiv 2203.02155: 33,000 prompts; Zephyr,"
              " arXiv 2310.16944: 64,000 pairs"),
)  # fmt: skip
_PROMPTS = (
    Yardstick(7_500, "reasoning by rewards", "GSM8K's train split, 7,473 questions; DeepSeekMath, arXiv 2402.03300:"
              " 144,000"),
)  # fmt: skip
YARDSTICKS: Mapping[str, Sequence[Yardstick]] = {
    "sft": tuple(y for y in GOALS.values() if y.least is not None),
    "continued_pretraining": (
        Yardstick(2_000_000_000, "a domain", "Don't Stop Pretraining, arXiv 2004.10964, table 1: 2.1 to 8.1 billion"
                  " tokens per domain", unit="tokens"),
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
            found.append(f"{count:,.0f} {yard.unit} are {yard.verdict(count)} for {yard.goal} ({yard.source})")
    if passes > _PASSES:
        found.append(f"{passes:g} passes over the same rows: beyond {_PASSES} they add little ({_PASSES_SOURCE})")
    return found


def few_for_all(objective: str, rows: int) -> str:
    """One line where the rows are few for whatever the objective could teach; "" where they are enough for something.

    Preferences and rewards take more rows than any style: where even that one lacks rows, they lack them too.
    """
    yards = [y for y in YARDSTICKS.get(objective, ()) if y.unit == "rows"]
    least = GOALS["style"].least or 0
    if not yards or rows >= least:
        return ""
    wanted = "; ".join(f"for {y.goal} {y.rule or f'{y.least:,} rows'}" for y in yards)
    named = f"{rows:,} row{'' if rows == 1 else 's'}"
    return f"{named} to train on: few. The rule: {wanted}; for facts retrieval (docs/stages/data_report.md)"
