"""Settings of the leak check."""

from typing import Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class Benchmark(Frozen):
    """A file whose rows must not be trained on."""

    name: str = Field(min_length=1, description="Name in the report and the ledger.")
    path: str = Field(
        min_length=1,
        description="File, relative to the project: .jsonl, .json, .csv, .tsv, .parquet or .txt (a row per line); .gz.",
    )
    columns: tuple[str, ...] | None = Field(
        None, description="Columns whose text is a row's text; null: every text in the row."
    )


class LeakCheckConfig(Frozen):
    """When a train row counts as contaminated by a validation, test or benchmark row (a held-out row)."""

    # 0.7 and 3 words: chosen, the same as the dedup stage's for conversations.
    threshold: float = Field(
        0.7, gt=0.0, le=1.0, description="Jaccard similarity of shingle sets from which a train row goes."
    )
    ngram: int = Field(3, ge=1, le=50, description="Words per shingle for that similarity.")
    # 13: GPT-3's (Brown et al. 2020, arXiv 2005.14165, appendix C) for texts of common length.
    overlap_ngram: int = Field(
        13, ge=2, le=100, description="Words per n-gram when looking for a held-out row inside a longer train row."
    )
    # 0.5: chosen, between GPT-3 (a single 13-gram) and PaLM (70 % of 8-grams; Chowdhery et al. 2022, section 8).
    overlap: float = Field(
        0.5, gt=0.0, le=1.0, description="Share of a held-out row's n-grams found in the train row from which it goes."
    )
    # 10: GPT-3, appendix C, ignores n-grams found in more than 10 training documents. The share (chosen) lets the
    # limit grow with the data, so that ordinary phrases are not taken for evidence in large sets.
    boilerplate_rows: int = Field(
        10, ge=0, description="Shingles and n-grams in more distinct train rows (or held-out rows) are boilerplate..."
    )
    boilerplate_share: float = Field(
        0.001, ge=0.0, le=1.0, description="... if they are also in more than this share of them; they are ignored."
    )
    benchmarks: tuple[Benchmark, ...] = Field((), description="Files that the train rows are checked against as well.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [b.name for b in self.benchmarks]
        twice = sorted({n for n in names if names.count(n) > 1} | ({"validation", "test"} & set(names)))
        if twice:
            raise ValueError(f"benchmark names must differ from each other and from the splits: {', '.join(twice)}")
        return self
