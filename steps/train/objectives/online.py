"""Reinforcement learning on prompts: the model answers, rewards grade the answers, better ones become likelier."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, model_validator

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row
from steps.contracts.reports import Frozen
from steps.engines.template.config import TemplateConfig
from steps.train.objectives.objective import Curve, Demand, Measure, Objective
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

    from steps.train.encoding import Encoding
    from steps.train.token_cache import Means

GraderName: TypeAlias = Literal["exact_match", "json_valid", "field_accuracy", "rouge_l"]


class RewardSource(Frozen):
    """One reward: a grader, a reward model, or a function."""

    grader: GraderName | None = Field(
        None, description="Grades the answer against the row's own; where that doesn't apply there is no reward."
    )
    model: str | None = Field(
        None, description="Folder of a reward model (full weights, one output) with the same tokenizer."
    )
    function: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:name of f(prompts, completions, reference, **rest) -> a number per completion, as"
        " TRL has it; None where there is none.",
    )
    weight: float = Field(1.0, description="Rewards are summed with their weights.")
    version: int = Field(1, description="Raise it when a function's code changes: no cache knows what is in it.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = [n for n in ("grader", "model", "function") if getattr(self, n) is not None]
        if len(named) != 1:
            raise ValueError(f"a reward is one of grader, model and function; {', '.join(named) or 'none'} is set")
        return self

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return self.grader or (self.function or "").rpartition(":")[2] or "model"


class OnlineOptions(Frozen):
    """What grpo and rloo share."""

    rewards: tuple[RewardSource, ...] = Field(
        min_length=1, description="What is rewarded, as [{grader: json_valid}, {function: package.module:name}]."
    )
    watch: GraderName = Field(
        "rouge_l",
        description="Grader of greedy answers to validation prompts: where it falls while the reward rises, the report"
        " warns of reward hacking. Best one that is no reward.",
    )
    watch_rows: int = Field(64, ge=1, description="Validation prompts that are answered each time.")
    json_schema: dict[str, JsonValue] | None = Field(
        None, description="JSON Schema for json_valid; None: any object is valid."
    )
    extractor: Literal["none", "json", "final_number"] = Field(
        "none", description="What exact_match compares, as evaluate.extractor."
    )
    num_generations: int = Field(8, ge=2, description="Answers per prompt, which are compared with each other.")
    max_completion_length: int = Field(256, ge=1, description="Tokens of an answer; the rest of max_length is prompt.")
    temperature: float = Field(1.0, gt=0, description="Of the answers that are trained on.")
    top_p: float = Field(1.0, gt=0, le=1, description="Of the answers that are trained on.")
    max_reward_failures: int = Field(
        32,
        ge=0,
        description="So many answers may get no reward because it raised or gave NaN; one more ends the run.",
    )


class OnlineObjective(Objective):
    """Prompts of conversations and of preferences. What the row answers is only a reference for graders."""

    options: OnlineOptions
    # A tenth of supervised training's; TRL's default for full weights is 1e-6.
    learning_rate_share = 0.1
    curves = (
        Curve("Reward, training", "weighted sum", "reward"),
        Curve("Reward, validation", "weighted sum, greedy answers", "eval_reward"),
        Curve("Held-out score, validation", "share", "eval_score"),
        Curve("KL divergence from the start", "nats per token", "kl"),
        Curve("Length of answers, training", "tokens", "completions/mean_length"),
        Curve("Answers that were cut", "share", "completions/clipped_ratio"),
        Curve("Spread of rewards within a prompt", "standard deviation", "reward_std"),
        Curve("Learning rate", "learning rate", "learning_rate"),
        Curve("Gradient norm", "norm before clipping", "grad_norm"),
    )
    measures = (
        Measure("validation reward", "eval_reward"),
        Measure("held-out score", "eval_score"),
        Measure("lower bound of the held-out score (95 %)", "eval_score_low"),
        Measure("upper bound of the held-out score (95 %)", "eval_score_high"),
        Measure("characters of a validation answer", "eval_length"),
    )

    def demand(self, settings: TrainSettings) -> Demand:
        """All answers of an optimizer step are generated at once; a penalty on the divergence asks the start."""
        answer, beta = self.options.max_completion_length, getattr(self.options, "beta", 0.0)
        rows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        return Demand("copy" if beta else "none", (rows, settings.max_length - answer, answer))

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Whole groups of answers in a step, and room for a prompt."""
        options, found = self.options, []
        batch = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        if batch % options.num_generations:
            found.append(
                f"per_device_train_batch_size x gradient_accumulation_steps counts answers: {batch} is no multiple of"
                f" num_generations {options.num_generations}"
            )
        if options.max_completion_length >= settings.max_length:
            found.append(
                f"max_completion_length {options.max_completion_length} leaves no room for a prompt in max_length"
                f" {settings.max_length}"
            )
        if settings.group_by_length:
            found.append("answers have no length before they are made: group_by_length clashes")
        if settings.neftune_noise_alpha is not None:
            found.append("neftune_noise_alpha would add noise to answers that are graded; it is for sft")
        return found

    def refusal(self, row: Row) -> str | None:
        """Documents ask nothing."""
        return "document" if row["kind"] == "document" else None

    def encode(
        self,
        dataset: Dataset,
        split: str | None,
        tokenizer: "PreTrainedTokenizerBase",
        template: TemplateConfig,
        settings: TrainSettings,
        path: Path,
        ledger: LedgerWriter | None = None,
        limit: int | None = None,
        means: "Means | None" = None,
    ) -> tuple["datasets.Dataset", "Encoding"]:
        """Prompts as inference has them, with the row's own answer."""
        from steps.train.prompt_encoding import write_prompts

        room = settings.max_length - self.options.max_completion_length
        return write_prompts(dataset, split, tokenizer, template, settings, room, self.refusal, path, ledger, limit)
