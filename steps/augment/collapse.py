"""How alike the made questions of a method are, beside the rows that they were made of; collapse is refused."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steps.augment.config import DiversityConfig
from steps.augment.drafts import Draft
from steps.contracts.arrays import Vectors
from steps.contracts.errors import InputError
from steps.contracts.reports import Table
from steps.engines.diversity.diversity import block_length, distinct, self_bleu, spread
from steps.engines.prompted.prompted import Prompted
from steps.engines.text.normalise import words

# Chosen: self-BLEU rises with the texts that one is compared with, and more say no more.
_COMPARED = 500
_REPEATED = "repeats"


@dataclass(frozen=True)
class Diversity:
    """Figures of one method; None: there is too little to measure.

    Attributes:
        made: questions written, repeated ones included. repeated: share of them that repeat one.
        distinct_2, of_rows: distinct pairs of words / pairs, of what stays and of the rows' questions, in blocks of one
            length. self_bleu: mean, 0 to 1. spread: mean cosine distance.
    """

    method: str
    made: int
    repeated: float
    distinct_2: float | None
    of_rows: float | None
    self_bleu: float | None
    spread: float | None


def measure(
    drafts: Sequence[Draft], seeds: Sequence[Prompted], embed: Callable[[Sequence[str]], Vectors] | None
) -> list[Diversity]:
    """Figures of every method that writes questions. A draft that repeats another is marked so before."""
    own = [words(s.question) for s in seeds]
    found = []
    for method in dict.fromkeys(d.method for d in drafts if d.method != "distill"):
        all_ = [d for d in drafts if d.method == method]
        repeated = sum(d.dropped == _REPEATED for d in all_)
        texts = [d.question for d in all_ if not d.dropped]
        said = [w for t in texts if (w := words(t))]
        block = block_length([sum(map(len, t)) for t in (said, own)])
        some = said[:_COMPARED]
        bleu = float(np.mean(self_bleu(some))) if len(some) > 1 else None
        vectors = spread(embed(texts)) if embed is not None and len(texts) > 1 else None
        found.append(
            Diversity(
                method, len(all_), repeated / max(len(all_), 1), _mean(said, block), _mean(own, block), bleu, vectors
            )
        )
    return found


def _mean(texts: Sequence[Sequence[str]], block: int) -> float | None:
    shares = distinct(texts, 2, block) if block else []
    return float(np.mean(shares)) if shares else None


def refuse_collapse(figures: Sequence[Diversity], config: DiversityConfig) -> None:
    """Stop where a method's questions are too alike to be worth training on.

    Raises:
        InputError: one is, with its figure and the setting.
    """
    for f in figures:
        for what in _faults(f, config) if f.made >= config.min_rows else ():
            raise InputError(
                f"what {f.method} makes has collapsed: {what}", where="augment",
                hint="a higher endpoint.temperature, other instructions or personas, more rows, or a larger model make"
                " it differ; replies so far are kept",
            )  # fmt: skip


def _faults(f: Diversity, config: DiversityConfig) -> Iterator[str]:
    if f.repeated > config.max_repeated:
        yield f"{f.repeated:.0%} of its {f.made:,} questions repeat one; max_repeated is {config.max_repeated}"
    if f.self_bleu is not None and f.self_bleu > config.max_self_bleu:
        yield f"self-BLEU of its questions is {f.self_bleu:.2f}; max_self_bleu is {config.max_self_bleu}"
    least = None if f.of_rows is None else config.min_distinct_2_ratio * f.of_rows
    if f.distinct_2 is not None and least is not None and f.distinct_2 < least:
        yield (
            f"distinct-2 of its questions is {f.distinct_2:.2f}, below {least:.2f} (min_distinct_2_ratio"
            f" {config.min_distinct_2_ratio} of what the rows have)"
        )
    if f.spread is not None and f.spread < config.min_spread:
        yield f"spread of its embeddings is {f.spread:.2f}; min_spread is {config.min_spread}"


def diversity_table(figures: Sequence[Diversity]) -> Table:
    """The figures, for the report."""
    columns = ("method", "questions", "repeated %", "distinct-2", "distinct-2 of the rows", "self-BLEU", "spread")
    rows = tuple(
        (f.method, f.made, round(100 * f.repeated, 1), *(None if v is None else round(v, 3)
         for v in (f.distinct_2, f.of_rows, f.self_bleu, f.spread)))
        for f in figures
    )  # fmt: skip
    return Table(title="Diversity of what was made", columns=columns, rows=rows)
