"""TRL's DistillationTrainer over rendered prompts, with the divergence of greedy answers to held-out ones."""

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Trainer
from trl import DistillationConfig, DistillationTrainer

from steps.engines.lm.load import load_start
from steps.train.asked import asked_dtype, require_same_head
from steps.train.objectives.distill_options import DistillOptions
from steps.train.objectives.objective import TrainerParts
from steps.train.objectives.prompt_trainer import EpochRepeatSampler, PromptTrainer
from steps.train.settings import Plan, TrainSettings
from steps.train.trainer import measuring, training_arguments


class DistillTrainer(PromptTrainer, DistillationTrainer):  # type: ignore[misc]
    """DistillationTrainer over rendered prompts."""

    options: DistillOptions
    generation_config: Any

    def _get_train_sampler(self, dataset: Any = None) -> EpochRepeatSampler:
        args: Any = self.args
        return EpochRepeatSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=1,
            batch_size=args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
            repeat_count=args.gradient_accumulation_steps,
            seed=args.seed,
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """`eval_loss`: the divergence per token of greedy answers to validation prompts; `eval_length`: their tokens;
        {} without validation rows.
        """
        if self.eval_dataset is None:
            return {}
        hint = "halve per_device_eval_batch_size, or lower objective.max_completion_length"
        with measuring(self, "answers to validation prompts", where="train", hint=hint), torch.no_grad():
            metrics = self._measured()
        # Not TRL's own: it would take what was gathered of training batches for this.
        Trainer.log(self, metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measured(self) -> dict[str, float]:
        prompts, rows = self.eval_dataset[: self.options.watch_rows]["prompt"], self.args.per_device_eval_batch_size
        drawn = self.generation_config
        self.generation_config = GenerationConfig(
            max_new_tokens=self.options.max_completion_length, do_sample=False, eos_token_id=self.eos_token_ids,
            pad_token_id=self.processing_class.pad_token_id,
        )  # fmt: skip
        divergence, tokens = 0.0, 0
        try:
            for start in range(0, len(prompts), rows):
                inputs = self._generate_and_score_completions([{"prompt": p} for p in prompts[start : start + rows]])
                with self.compute_loss_context_manager():
                    loss, _, counted = self._compute_loss(self.accelerator.unwrap_model(self.model), inputs, None)
                divergence, tokens = divergence + float(loss) * int(counted), tokens + int(counted)
        finally:
            self.generation_config = drawn
            self._metrics["eval"].clear()
        return {"eval_loss": divergence / max(tokens, 1), "eval_length": tokens / max(len(prompts), 1)}


def build_trainer(parts: TrainerParts, options: DistillOptions) -> DistillTrainer:
    """A trainer over prompts (columns of `prompt_encoding.SCHEMA`), with its teacher on the same device.

    Raises:
        ConfigError: the teacher's head has another size.
    """
    source, plan = options.teacher, parts.plan
    start = parts.asked[source.key]
    teacher = load_start(start.base, start.adapter, dtype=asked_dtype(plan), device=plan.device)
    where = f"train.objective.teacher: {source.key}"
    own, other = (m.config.get_text_config().vocab_size for m in (parts.model, teacher.model))
    require_same_head(own, other, where)
    trainer = DistillTrainer(
        **parts.named(),
        teacher_model=teacher.model.requires_grad_(False).eval(),
        args=distill_config(parts.settings, options, plan, parts.checkpoints),
        train_dataset=parts.rows.train,
    )
    trainer.options = options
    parts.give_validation(trainer)
    return trainer


def distill_config(
    settings: TrainSettings, options: DistillOptions, plan: Plan, checkpoints: Path
) -> DistillationConfig:
    """TRL's arguments for settings, options and a plan."""
    return DistillationConfig(
        **training_arguments(settings, plan, checkpoints),
        max_completion_length=options.max_completion_length,
        temperature=options.temperature,
        top_p=options.top_p,
        beta=options.divergence,
        remove_unused_columns=False,
    )
