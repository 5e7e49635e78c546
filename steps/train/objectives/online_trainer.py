"""TRL's GRPOTrainer and RLOOTrainer over rendered prompts, with grades of held-out answers."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

from steps.contracts.evaluation import Estimate
from steps.engines.lm.generate import generate
from steps.engines.lm.load import LoadedModel
from steps.engines.progress.progress import say
from steps.engines.scoring.metrics import estimate
from steps.engines.template.reasoning import Markers
from steps.engines.template.render import chat_template
from steps.train.asked import asked_dtype
from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.online_options import GrpoOptions, OnlineOptions, RlooOptions
from steps.train.objectives.preference_trainer import adapter_can_be_taken_off
from steps.train.objectives.prompt_trainer import EpochRepeatSampler, PromptTrainer
from steps.train.reward_watch import Point, parted, points_of
from steps.train.rewards import Asking, Failures, Reward, graded, grading, rewards_of
from steps.train.settings import Plan, TrainSettings
from steps.train.trainer import measuring, training_arguments


class OnlineTrainer(PromptTrainer):
    """Over one of TRL's: prompts are text already, and validation prompts are answered greedily.

    Attributes:
        markers: of reasoning in an answer.
        first: what was measured before the first step.
    """

    options: OnlineOptions
    failures: Failures
    markers: Markers
    rewards: list[Reward]
    first: dict[str, float] | None = None
    num_generations: int
    num_iterations: int

    def _get_train_sampler(self, dataset: Any = None) -> EpochRepeatSampler:
        args: Any = self.args
        return EpochRepeatSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * args.steps_per_generation,
            seed=args.seed,
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """`eval_reward` and `eval_score` (with its 95 % interval) of greedy answers to validation prompts, and
        `eval_loss`, which is the negative reward; {} without validation rows.
        """
        if self.eval_dataset is None:
            return {}
        hint = "halve per_device_eval_batch_size, or lower objective.max_completion_length"
        with measuring(self, "answers to validation prompts", where="train", hint=hint):
            metrics = self._measured()
        self.first = self.first or metrics
        # Not TRL's own: it would take what was gathered of training batches for this.
        Trainer.log(self, metrics)
        for warning in self.hacking:
            say(warning)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measured(self) -> dict[str, float]:
        rows = self.eval_dataset[: self.options.watch_rows]
        loaded = LoadedModel(self.model, self.processing_class, str(self.args.device))
        said = generate(
            loaded, rows["prompt"], max_new_tokens=self.options.max_completion_length,
            batch_size=self.args.per_device_eval_batch_size,
        )  # fmt: skip
        answers, wanted = [one.text for one in said], rows["reference"]
        ids = self.processing_class(answers, add_special_tokens=False)["input_ids"]
        rewards = self._summed([r(rows["prompt"], answers, completion_ids=ids, reference=wanted) for r in self.rewards])
        scores = graded(self.options.watch, grading(self.options), self.markers, rows["prompt"], answers, wanted)
        found = {"eval_loss": -rewards, "eval_reward": rewards, "eval_length": sum(map(len, answers)) / len(answers)}
        held_out: Estimate | None = estimate(self.options.watch, [{self.options.watch: s} for s in scores])
        if held_out is not None:
            found |= {
                "eval_score": held_out.value, "eval_score_low": held_out.low, "eval_score_high": held_out.high,
            }  # fmt: skip
        return found

    def _summed(self, found: Sequence[Sequence[float | None]]) -> float:
        """Mean over answers of the weighted sum of their rewards; a reward that isn't there is none."""
        weights = [source.weight for source in self.options.rewards]
        sums = [
            sum(w * (r or 0.0) for w, r in zip(weights, of_one, strict=True)) for of_one in zip(*found, strict=True)
        ]
        return sum(sums) / max(len(sums), 1)

    @property
    def points(self) -> list[Point]:
        """Held-out scores on the way, with the rewards in training since the one before."""
        return points_of(self.first, self.state.log_history)

    @property
    def hacking(self) -> list[str]:
        """A warning, where the reward and the held-out score part."""
        return parted(self.points, self.options.watch)

    @property
    def notes(self) -> list[str]:
        """For the report."""
        failed = self.failures
        lost = [f"{failed.count} answers got no reward; the first: {failed.first}"] if failed.count else []
        return [*self.hacking, *lost]


class GrpoTrainer(OnlineTrainer, GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer over rendered prompts."""


class RlooTrainer(OnlineTrainer, RLOOTrainer):  # type: ignore[misc]
    """RLOOTrainer over rendered prompts."""


def build_trainer(parts: TrainerParts, kind: Any, config: Any, options: GrpoOptions | RlooOptions) -> Any:
    """A trainer of that class over prompts (columns of `prompt_encoding.SCHEMA`).

    The reference of the KL divergence is what training starts from: the model without its adapter, or a copy of it.
    TRL would load one by the name in config.json.
    """
    tokenizer, beta = parts.tokenizer, options.beta
    markers, failures = chat_template(tokenizer).markers, Failures(options.max_reward_failures)
    asking = Asking(
        tokenizer, markers, str(config.device), asked_dtype(parts.plan), config.per_device_eval_batch_size, parts.asked
    )
    rewards = rewards_of(options, asking, failures)
    start = copy.deepcopy(parts.model).eval() if beta and not adapter_can_be_taken_off(parts.peft_config) else None
    trainer = kind(**parts.named(), reward_funcs=rewards, args=config, train_dataset=parts.rows.train)
    trainer.options, trainer.failures, trainer.markers, trainer.rewards = options, failures, markers, rewards
    trainer.beta = beta
    if start is not None:
        trainer.ref_model = _reference(trainer, start, config)
    parts.give_validation(trainer)
    return trainer


def _reference(trainer: Any, start: Any, config: Any) -> Any:
    """A copy of the start as TRL's trainers prepare it."""
    extra = {"cast_lm_head_to_fp32": config.cast_lm_head_to_fp32} if hasattr(config, "cast_lm_head_to_fp32") else {}
    add_fused_lm_head(start.requires_grad_(False), temperature=config.temperature, **extra)
    return trainer.accelerator.prepare_model(start, evaluation_mode=True)


def _shared(settings: TrainSettings, options: OnlineOptions, plan: Plan, checkpoints: Path) -> dict[str, Any]:
    return {
        **training_arguments(settings, plan, checkpoints),
        "num_generations": options.num_generations,
        "max_completion_length": options.max_completion_length,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "reward_weights": [source.weight for source in options.rewards],
        # The reference is set after construction.
        "beta": 0.0,
        "remove_unused_columns": False,
    }


def grpo_config(settings: TrainSettings, options: GrpoOptions, plan: Plan, checkpoints: Path) -> GRPOConfig:
    """TRL's arguments for settings, options and a plan."""
    shared = _shared(settings, options, plan, checkpoints)
    return GRPOConfig(**shared, loss_type=options.loss)


def rloo_config(settings: TrainSettings, options: RlooOptions, plan: Plan, checkpoints: Path) -> RLOOConfig:
    """TRL's arguments for settings, options and a plan."""
    return RLOOConfig(**_shared(settings, options, plan, checkpoints))
