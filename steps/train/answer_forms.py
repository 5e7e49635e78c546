"""What preference trainers read: both answers of a pair side by side, or one answer with its label."""

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from steps.contracts.records import Row
from steps.engines.template.answers import judged_answers, prompt_length, same
from steps.engines.template.labelled import Labelled
from steps.engines.template.lint import Judge, Linted
from steps.train.row_form import TOKENS, Kept, RowForm, token_lists


def token_fields(prefix: str = "") -> list[pa.Field]:
    """Two columns of a sequence: its ids, and as labels those of its answer's tokens, -100 elsewhere."""
    return [pa.field(f"{prefix}{name}", TOKENS, nullable=False) for name in ("input_ids", "labels")]


class AnswerForm(RowForm):
    """Sequences that end with an answer each."""

    columns = (
        "record_id", "content_id", "kind", "source", "messages", "tools", "chosen", "rejected", "label", "meta",
    )  # fmt: skip

    def judged(self, judge: Judge, rows: Sequence[Row]) -> list[Linted]:
        """Of a pair both answers, of a labelled answer that one."""
        return judged_answers(judge, rows)


class Pairs(AnswerForm):
    """Both answers of a preference, behind their prompt each: a row of the file per pair, which is never torn apart."""

    name = "pairs"
    schema = pa.schema(
        [*token_fields("chosen_"), *token_fields("rejected_"), pa.field("length", pa.int32(), nullable=False)]
    )

    def unfit(
        self, sequences: Sequence[Labelled], fitting: Sequence[tuple[int, Labelled]], limit: int, overlong: str
    ) -> str | None:
        """Both answers must be left, and differ where they were cut."""
        if any(prompt_length(s) >= limit for s in sequences):
            return "overlong_prompt"
        if len(fitting) < len(sequences):
            return "overlong"
        return "equal_when_cut" if same(*(s for _, s in fitting)) else None

    def keys(self, kept: Kept) -> list[bytes]:
        """One row."""
        return super().keys(kept)[:1]

    def batch(self, kept: Sequence[Kept]) -> pa.RecordBatch:
        """A row per pair; its length is that of the longer answer."""
        chosen, rejected = ([row.sequences[n][1] for row in kept] for n in (0, 1))
        longer = [max(len(c.input_ids), len(r.input_ids)) for c, r in zip(chosen, rejected, strict=True)]
        columns = [*token_lists(chosen), *token_lists(rejected), pa.array(longer, pa.int32())]
        return pa.record_batch(columns, schema=self.schema)


class LabelledAnswers(AnswerForm):
    """Answers that are wanted or not; of a pair, the chosen one is, and the rejected one isn't."""

    name = "labelled_answers"
    # By the label: what the report calls such answers.
    said: ClassVar[dict[bool, str]] = {True: "wanted", False: "unwanted"}
    schema = pa.schema(
        [*token_fields(), pa.field("label", pa.bool_(), nullable=False), pa.field("length", pa.int32(), nullable=False)]
    )

    def answers(self, kept: Kept) -> list[str]:
        """Whether each is wanted."""
        return [self.said[label] for label in _labels(kept)]

    def batch(self, kept: Sequence[Kept]) -> pa.RecordBatch:
        """A row per answer."""
        sequences = [s for row in kept for _, s in row.sequences]
        labels = pa.array([label for row in kept for label in _labels(row)], pa.bool_())
        lengths = pa.array([len(s.input_ids) for s in sequences], pa.int32())
        return pa.record_batch([*token_lists(sequences), labels, lengths], schema=self.schema)


def _labels(kept: Kept) -> list[bool]:
    """Whether each answer is wanted."""
    if kept.row["kind"] == "preference":
        return [place == 0 for place, _ in kept.sequences]
    return [bool(kept.row["label"])] * len(kept.sequences)
