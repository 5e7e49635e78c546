"""What judges that answer in words make of rows that say nothing: their liking for numbers (the digit prior).

A judge that says how probable each rating is shows it in one row; one that answers in words gives a rating a row, so
that several such rows are asked about (content-free inputs of Zhao et al. 2021). Each is asked once for a model, a
prompt and its decoding: its reply is kept as that on any row.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.contracts.dataset import Dataset
from steps.contracts.reports import Table
from steps.engines.rubric.asking import RATINGS, empty_case
from steps.engines.rubric.case import Case, Criterion, Score
from steps.engines.rubric.rubric import RatedKind, rated_as
from steps.judge.backend import Judge, RepeatableJudge
from steps.judge.biases.scale import nearest
from steps.judge.checks_config import MOST_EMPTY
from steps.judge.config import JudgeConfig
from steps.judge.deciding import keeps
from steps.judge.verdict import JudgeVerdict

# Chosen: what stands where nothing is said, and no digit that a judge could repeat.
CONTENTS = ("N/A", "[MASK]", "...", "-", "none", "null", "[]", "?")
assert len(CONTENTS) == MOST_EMPTY


@dataclass(frozen=True)
class OfNothing:
    """One judge's verdicts on the rows of a kind that say nothing. `config`: its settings."""

    model: str
    kind: RatedKind
    verdicts: Sequence[JudgeVerdict]
    config: JudgeConfig

    @property
    def scores(self) -> list[Mapping[Criterion, Score]]:
        """Of those that have any."""
        return [v.scores for v in self.verdicts if v.share is not None]

    @property
    def kept(self) -> int:
        """How many would be kept."""
        return sum(keeps(self.config, scores) for scores in self.scores)


def asked_about_nothing(
    judges: Mapping[str, Judge], models: Mapping[str, str], config: JudgeConfig, rows: Dataset
) -> list[OfNothing]:
    """Every judge that answers in words, about the kinds of rows that there are, as far as they have a criterion.

    Raises:
        ServiceError: a judge's server doesn't work.
    """
    if not config.checks.empty_rows:
        return []
    alone, kinds = config.of_jury(), {k for table in rows.tables(["kind"]) for k in table["kind"].unique().to_pylist()}
    found = []
    for name, judge in judges.items():
        for kind in sorted(set(map(rated_as, kinds))) if isinstance(judge, RepeatableJudge) and not judge.rated else ():
            verdicts = judge.verdicts(empty_cases(kind, config))
            if any(v.error != "kind_not_rated" for v in verdicts):
                found.append(OfNothing(models[name], kind, verdicts, alone[name]))
    return found


def empty_cases(kind: str, config: JudgeConfig) -> list[Case]:
    """The rows of a kind that are asked about."""
    return [empty_case(kind, text) for text in CONTENTS[: config.checks.empty_rows]]


def empty_tables(found: Sequence[OfNothing], scores: Mapping[Criterion, Counter[Score]]) -> tuple[Table, ...]:
    """Ratings of rows that say nothing beside those of the run (`scores`: its rows by criterion and score), as shares
    of n.
    """
    lines = []
    for of in found:
        said = of.scores
        for criterion in dict.fromkeys(c for one in said for c in one):
            by = Counter(one[criterion] for one in said if criterion in one)
            lines.append((of.model, f"empty, {of.kind}", criterion, *_used(by)))
    criteria = dict.fromkeys(criterion for _, _, criterion, *_ in lines)
    lines += [("all", "of this run", str(c), *_used(scores[str(c)])) for c in criteria if scores.get(str(c))]
    if not lines:
        return ()
    columns = ("judge", "rows", "criterion", "n", *RATINGS, "mean")
    return (Table(title="Rows that say nothing", columns=columns, rows=tuple(lines), chapter="biases"),)


def _used(by: Mapping[Score, int]) -> tuple[int | float, ...]:
    whole = nearest(by)
    n = whole.total()
    mean = sum(score * rows for score, rows in by.items()) / n
    return (n, *(round(whole[int(r)] / n, 4) for r in RATINGS), round(mean, 4))


def empty_notes(found: Sequence[OfNothing]) -> tuple[str, ...]:
    """Those without a verdict."""
    return tuple(
        f"{of.model}: of {len(of.verdicts)} rows that say nothing ({of.kind}) {len(of.scores)} have a verdict."
        for of in found
        if len(of.scores) < len(of.verdicts)
    )


def empty_warnings(found: Sequence[OfNothing]) -> tuple[str, ...]:
    """Judges that would keep such a row."""
    return tuple(
        f"{of.model} would keep {of.kept} of {len(of.scores)} rows that say nothing ({of.kind}): its scores owe less to"
        " the rows than they seem to."
        for of in found
        if of.kept
    )
