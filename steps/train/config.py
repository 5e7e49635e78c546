"""Settings of the train stage, named as in transformers, TRL and peft (TrainingArguments, SFTConfig, LoraConfig)."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from steps.contracts.reports import Frozen


class LoraOptions(Frozen):
    """LoRA (Hu et al. 2021, arXiv 2106.09685)."""

    r: int = Field(16, ge=1, description="Rank. 16: TRL's and peft's usual choice for SFT.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the update: alpha / r. Twice the rank by convention.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Share of adapter inputs set to 0 while training.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description='"all-linear" (every linear layer but the head; QLoRA paper, 4) or layer names.'
    )
    use_rslora: bool = Field(False, description="Scale by alpha / sqrt(r) instead (arXiv 2312.03732).")
    use_dora: bool = Field(False, description="Train magnitude and direction apart (DoRA, arXiv 2402.09353); slower.")

    @field_validator("target_modules")
    @classmethod
    def _not_the_head(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if "lm_head" in value:
            raise ValueError("lm_head can't have an adapter: the loss reads its weights directly (remove it)")
        return value


class TrainConfig(Frozen):
    """Supervised fine-tuning on the assistant's tokens."""

    method: Literal["lora", "full"] = Field("lora", description="Train an adapter, or all weights.")
    lora: LoraOptions | None = Field(None, description="Options of method lora; None: the defaults above.")

    learning_rate: float = Field(
        2e-4, gt=0, description="Peak. 2e-4 suits LoRA (QLoRA paper, table 9); full training wants about a tenth."
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup_steps: float = Field(0.03, ge=0, description="Optimizer steps; below 1: share of all steps.")
    num_train_epochs: float | None = Field(None, gt=0, description="Passes over the rows; None and no max_steps: 1.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; excludes num_train_epochs.")
    per_device_train_batch_size: int = Field(8, ge=1, description="Rows (packs, when packing) per forward pass.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    optim: Literal["adamw_torch_fused", "adamw_torch", "adafactor"] = "adamw_torch_fused"
    weight_decay: float = Field(0.0, ge=0)
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0: never.")
    neftune_noise_alpha: float | None = Field(
        None, gt=0, description="Noise on embeddings (NEFTune, arXiv 2310.05914: 5 to 15); None: off."
    )

    max_length: int = Field(1024, ge=8, description="Tokens of a row, and of a pack when packing.")
    overlong: Literal["drop", "truncate", "fail"] = Field(
        "drop", description="Rows longer than max_length. A truncated row loses its end, with the end-of-turn token."
    )
    unusable_rows: Literal["drop", "fail"] = Field(
        "drop", description="Rows that the mask lint refuses: no trained tokens, template error, control tokens ..."
    )
    max_unusable_share: float = Field(
        0.05, ge=0, le=1, description="More unusable rows than this share stop the run. Chosen: one in twenty."
    )
    allow_control_tokens: bool = Field(
        False, description="Train on rows whose text holds special tokens such as <|im_end|>; they become real tokens."
    )
    preference_as: Literal["skip", "chosen"] = Field(
        "skip", description="Preference rows: leave them out, or train on the chosen answer."
    )
    packing: Literal["none", "bfd", "wrapped"] = Field(
        "none",
        description="bfd: whole rows share a sequence without seeing each other; wrapped: one stream, cut anywhere.",
    )
    group_by_length: bool = Field(False, description="Batches of similar length: less padding.")

    eval_steps: int | None = Field(
        None, ge=1, description="Optimizer steps between validation losses; None: only before and after training."
    )
    per_device_eval_batch_size: int = Field(8, ge=1, description="Rows per forward pass of the validation loss.")
    max_eval_rows: int | None = Field(
        1000, ge=1, description="Validation rows that are used, those with the smallest content ids; None: all."
    )
    logging_steps: int = Field(10, ge=1, description="Optimizer steps per point of the loss curve (a mean over them).")
    save_steps: int = Field(500, ge=1, description="Optimizer steps between checkpoints; the last step is always one.")
    save_total_limit: int = Field(2, ge=1, description="Newest checkpoints that are kept.")

    seed: int = Field(42, ge=0)
    num_threads: int = Field(
        1, ge=1, description="CPU threads of torch. Another number gives other rounding, so other weights."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one, else cpu.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Weights in memory. auto: bfloat16 for lora on a GPU (adapter in float32), else float32."
    )
    bf16: Literal["auto"] | bool = Field("auto", description="bfloat16 autocast. auto: on a GPU that has it.")
    gradient_checkpointing: Literal["auto"] | bool = Field(
        "auto", description="Recompute activations instead of keeping them. auto: on a GPU."
    )
    loss_kernel: Literal["auto", "fused", "plain"] = Field(
        "auto",
        description="fused: TRL's chunked head, saves the logits' memory; plain: 1.6 to 1.85 times faster on a CPU with"
        " a vocabulary of 2,048. auto: plain on a CPU with at most 32,768 tokens, else fused.",
    )

    @property
    def lora_options(self) -> LoraOptions:
        """The LoRA options in force."""
        return self.lora or LoraOptions()

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        clashes = [
            (self.method == "full" and self.lora is not None, "method is full, but lora options are set"),
            (self.max_steps is not None and self.num_train_epochs is not None, "max_steps and num_train_epochs clash"),
            (
                self.packing != "none" and self.group_by_length,
                "packing makes rows of one length: group_by_length clashes",
            ),
            (self.packing == "bfd" and self.per_device_train_batch_size > 1, _BFD),
            (self.dtype == "bfloat16" and self.method == "full", _FULL_16),
        ]
        found = [text for clash, text in clashes if clash]
        if found:
            raise ValueError("; ".join(found) + " (remove one of them)")
        return self


# bfd flattens a batch of packs into one sequence; without flash attention its cost grows with the square of
# batch × max_length (measured on a CPU, 512 tokens: 97 ms a step at batch 1, 1,951 ms at 8).
_BFD = "packing bfd needs per_device_train_batch_size 1; use gradient_accumulation_steps for larger steps"
_FULL_16 = "full training in bfloat16 weights loses small updates; use dtype float32 with bf16 autocast"
