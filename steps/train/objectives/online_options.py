"""Options of the objectives that reward answers."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, JsonValue, model_validator

from steps.contracts.reports import Frozen
from steps.engines.graders.json_schema import schema_fault
from steps.train.asked import ModelSource

GraderName: TypeAlias = Literal["exact_match", "json_valid", "field_accuracy", "rouge_l"]


class RewardSource(ModelSource):
    """One reward: a grader, a function, or a reward model, which an earlier phase or another run has trained."""

    grader: GraderName | None = Field(
        None, description="Grades the answer against the row's own; where that doesn't apply there is no reward."
    )
    function: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:name of f(prompts, completions, reference, **rest) -> a number per completion, as"
        " TRL has it; None where there is none. Its code is in the cache key, with what it imports of the checkout.",
    )
    weight: float = Field(1.0, description="Rewards are summed with their weights.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = [n for n in ("grader", "function", "model", "phase") if getattr(self, n) is not None]
        if len(named) != 1:
            raise ValueError(
                f"a reward is one of grader, function, model and phase; {', '.join(named) or 'none'} is set"
            )
        return self

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return self.grader or (self.function or "").rpartition(":")[2] or self.phase or "model"


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

    @model_validator(mode="after")
    def _graders_of(self) -> Self:
        if not any(r.weight for r in self.rewards):
            raise ValueError("every reward weighs 0: nothing would be learnt")
        graders = {self.watch, *(r.grader for r in self.rewards)}
        if self.json_schema is not None:
            if "json_valid" not in graders:
                raise ValueError("json_schema is set, but json_valid is neither a reward nor watched")
            if why := schema_fault(self.json_schema):
                raise ValueError(f"json_schema is no JSON schema: {why}")
        if self.extractor != "none" and "exact_match" not in graders:
            raise ValueError(f"extractor is {self.extractor}, but exact_match is neither a reward nor watched")
        return self


class GrpoOptions(OnlineOptions):
    """Group relative policy optimisation, by TRL's GRPOTrainer."""

    kind: Literal["grpo"] = Field("grpo", description="GRPO (arXiv 2402.03300): prompts and rewards.")
    beta: float = Field(
        0.04,
        ge=0,
        description="Weight of the KL divergence from the model that training starts from: 0.04 in the paper. 0: none,"
        " and no second model in memory where all weights are trained.",
    )
    loss: Literal["dapo", "grpo", "bnpo", "dr_grpo"] = Field(
        "dapo", description="How tokens are weighed: dapo (arXiv 2503.14476) by all tokens of a step, grpo by answer,"
        " dr_grpo (arXiv 2503.20783) by the longest answer there may be."
    )  # fmt: skip


class RlooOptions(OnlineOptions):
    """REINFORCE leave-one-out, by TRL's RLOOTrainer."""

    kind: Literal["rloo"] = Field("rloo", description="RLOO (arXiv 2402.14740): prompts and rewards.")
    beta: float = Field(
        0.05,
        ge=0,
        description="Weight of the KL divergence from the model that training starts from, as a part of the reward. 0:"
        " none, and no second model in memory where all weights are trained.",
    )
