"""Training on prompts that the model answers itself; of reinforcement learning, in which rewards grade the answers and
better ones become likelier.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from steps.contracts.records import Row
from steps.train.asked import ModelSource
from steps.train.objectives.distill_options import DistillOptions
from steps.train.objectives.objective import Curve, Demand, Measure, Objective
from steps.train.objectives.online_options import GrpoOptions, RlooOptions
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    import datasets

    from steps.train.encoding import Encoding


class PromptObjective(Objective):
    """Prompts of conversations and of preferences, which the model answers in training."""

    options: DistillOptions | GrpoOptions | RlooOptions
    # A tenth of supervised training's; TRL's default for full weights is 1e-6.
    learning_rate_share = 0.1

    def demand(self, settings: TrainSettings) -> Demand:
        """All answers of an optimizer step are generated at once."""
        answer = self.options.max_completion_length
        rows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        return Demand(answers=(rows, settings.max_length - answer, answer))

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Room for a prompt, and what can't go with answers that are made on the way."""
        found, answer = [], self.options.max_completion_length
        if answer >= settings.max_length:
            found.append(
                f"max_completion_length {answer} leaves no room for a prompt in max_length {settings.max_length}"
            )
        if settings.group_by_length:
            found.append("answers have no length before they are made: group_by_length clashes")
        if settings.neftune_noise_alpha is not None:
            found.append("neftune_noise_alpha would add noise to answers that are made in training; it is for sft")
        return found

    def refusal(self, row: Row) -> str | None:
        """Documents ask nothing."""
        return "document" if row["kind"] == "document" else None

    def encode(self, given: RowsToEncode) -> tuple["datasets.Dataset", "Encoding"]:
        """Prompts as inference has them, with the row's own answer, where max_length leaves room for the model's."""
        from steps.train.prompt_encoding import write_prompts

        return write_prompts(given, given.settings.max_length - self.options.max_completion_length, self.refusal)


class OnlineObjective(PromptObjective):
    """What the row answers is only a reference for graders."""

    options: GrpoOptions | RlooOptions
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

    def asks(self) -> tuple[ModelSource, ...]:
        """Reward models."""
        return tuple(r for r in self.options.rewards if r.model is not None or r.phase is not None)

    def functions(self) -> tuple[str, ...]:
        """Those that reward."""
        return tuple(r.function for r in self.options.rewards if r.function is not None)

    def demand(self, settings: TrainSettings) -> Demand:
        """A penalty on the divergence asks the start besides."""
        return replace(super().demand(settings), reference="copy" if self.options.beta else "none")

    @property
    def answers_per_prompt(self) -> int:
        """A group, whose answers are compared with each other."""
        return self.options.num_generations

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Whole groups of answers in a step."""
        options, found = self.options, []
        batch = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        if batch % options.num_generations:
            found.append(
                f"per_device_train_batch_size x gradient_accumulation_steps counts answers: {batch} is no multiple of"
                f" num_generations {options.num_generations}"
            )
        return [*found, *super().clashes(settings)]
