"""Continued pre-training: documents, every token trained, packed to sequences of one length."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from steps.contracts.records import Kind, Row
from steps.contracts.reports import Frozen
from steps.train.objectives.objective import VALIDATION_LOSS, Curve, LossKernel, Measure, Objective, TrainerParts
from steps.train.objectives.sft import loss_kernel
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    import datasets

    from steps.train.document_encoding import Wanted
    from steps.train.encoding import Encoding
    from steps.train.objectives.document_trainer import DocumentTrainer

_NATS = "nats per trained token"


class Replay(Frozen):
    """Rows of another kind or source that are mixed in, so that the model doesn't forget what they stand for."""

    # Ibrahim et al. 2024 (arXiv 2403.08763) find 5 % enough where the new text is near, 25 to 50 % where it is far.
    share: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Of all tokens; whole rows are taken, those with the smallest content ids. arXiv 2403.08763: 0.05"
        " where the new text is near to what the model knows, 0.25 to 0.5 where it is far.",
    )
    sources: tuple[str, ...] = Field((), description="Names of sources, as ingest has them; empty: all.")
    kinds: tuple[Kind, ...] = Field(
        (), description="Kinds of rows: document, conversation (its assistant's turns are trained); empty: both."
    )

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if not self.sources and self.kinds != ("conversation",):
            raise ValueError("replay needs sources, or kinds: [conversation]: else every document would be replayed")
        if "preference" in self.kinds:
            raise ValueError("replay takes documents and conversations, no preferences")
        return self

    def takes(self, source: str, kind: str) -> bool:
        """Whether a row of that source (the name that ingest gives it) and kind is replayed."""
        kinds = self.kinds or ("document", "conversation")
        return kind in kinds and (not self.sources or source in self.sources)


class ContinuedPretrainingOptions(Frozen):
    """Continued pre-training on documents, packed to max_length tokens."""

    kind: Literal["continued_pretraining"] = Field(
        "continued_pretraining", description="Continued pre-training: every token of documents."
    )
    packing: Literal["bfd", "wrapped"] = Field(
        "bfd",
        description="bfd: documents, cut only where they are longer than max_length, share a sequence without seeing"
        " each other; wrapped: one stream, cut every max_length tokens, each token sees all before it.",
    )
    end_token: str | None = Field(
        None,
        description="The token that ends a document; None: the tokenizer's EOS. An instruct model's is often the end of"
        " a turn: <|end_of_text|> is Llama 3's, <|endoftext|> Qwen's.",
    )
    replay: Replay | None = Field(None, description="What is mixed in against forgetting.")
    loss_kernel: Literal["auto", "fused", "plain"] = Field("auto", description="As sft's.")


class ContinuedPretraining(Objective):
    """Documents, and what is replayed; of other rows nothing is trained."""

    curves = (
        Curve("Training loss", _NATS, "loss"),
        Curve("Validation loss", _NATS, "eval_loss"),
        Curve("Validation loss of replayed rows", _NATS, "eval_replay_loss"),
        Curve("Learning rate", "learning rate", "learning_rate"),
        Curve("Gradient norm", "norm before clipping", "grad_norm"),
    )
    measures = (
        VALIDATION_LOSS,
        Measure("validation perplexity", "eval_perplexity"),
        Measure("validation loss of replayed rows", "eval_replay_loss"),
    )

    def __init__(self, options: ContinuedPretrainingOptions, *, measured: bool = False) -> None:
        """`measured`: rows are only measured, so that all that could be replayed are."""
        self.options = options
        self.measured = measured

    def held_out(self) -> "ContinuedPretraining":
        """Without a share of rows to replay."""
        return ContinuedPretraining(self.options, measured=True)

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Packs are of one length, and rows that aren't among the phase's can't be replayed."""
        found = []
        if settings.group_by_length:
            found.append("continued_pretraining packs to sequences of one length: group_by_length clashes")
        rows, replay = getattr(settings, "rows", None), self.options.replay
        if rows is not None and replay is not None and rows.sources:
            absent = [s for s in replay.sources if s not in rows.sources]
            if absent:
                found.append(f"objective.replay.sources has {', '.join(absent)}, which rows.sources leaves out")
        return found

    def refusal(self, row: Row) -> str | None:
        """Whatever is no document, unless it is replayed."""
        replay = self.options.replay
        if row["kind"] == "document":
            return None
        if replay is None or not replay.takes(str(row["source"]).partition("/")[0], row["kind"]):
            return str(row["kind"])
        return "unwanted_answer" if row.get("label") is False else None

    def encode(self, given: RowsToEncode) -> tuple["datasets.Dataset", "Encoding"]:
        """Rows cut to sequences of max_length tokens at most; they are packed when the trainer is made."""
        from steps.train.document_encoding import write_pieces

        return write_pieces(given, self.wanted)

    @property
    def wanted(self) -> "Wanted":
        """What is taken of rows."""
        from steps.train.document_encoding import Wanted

        options, replay = self.options, self.options.replay
        return Wanted(
            self.refusal,
            (lambda source, kind: False) if replay is None else replay.takes,
            0.0 if replay is None else replay.share,
            options.end_token,
            self.measured,
        )

    def loss_kernel(self, device: str, vocab_size: int) -> LossKernel:
        """As sft's."""
        return loss_kernel(self.options.loss_kernel, device, vocab_size)

    def trainer(self, parts: TrainerParts) -> "DocumentTrainer":
        """TRL's SFTTrainer over packs."""
        from steps.train.objectives.document_trainer import build_trainer

        return build_trainer(parts, self.options.packing)
