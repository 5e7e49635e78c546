"""Settings that all objectives and all kinds of weights share, named as in transformers' TrainingArguments and TRL."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from steps.train.watching.settings import WatchSettings

# Libraries whose version decides over bits of the weights.
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")
# Optimizers of bitsandbytes.
BITSANDBYTES = frozenset({"adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion_32bit", "lion_8bit"})
# Bytes of state per trained weight. AdamW has two moments, Lion one, in float32, or in 8 bits with a float32 per 256
# of them; Adafactor a row and a column per matrix (about a hundredth). Tensors of fewer than 4,096 weights, and
# embeddings, stay in float32 in optimizers of 8 bits.
OPTIMIZER_BYTES = {
    "adamw_torch_fused": 8.0, "adamw_torch": 8.0, "adafactor": 0.04, "sgd": 0.0, "adamw_8bit": 2 * (1 + 4 / 256),
    "paged_adamw_8bit": 2 * (1 + 4 / 256), "paged_adamw_32bit": 8.0, "lion_32bit": 4.0, "lion_8bit": 1 + 4 / 256,
}  # fmt: skip
# Told an optimizer step and its metrics.
OnMetrics: TypeAlias = Callable[[int, dict[str, float]], None]


class TrainSettings(WatchSettings):
    """Optimisation, limits of rows, checkpoints, machine. No field here is about one objective or kind of weights."""

    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Peak. None: by weights: 2e-4 for lora (QLoRA paper, table 9), a tenth of it for full; and by"
        " objective: a fortieth of that for dpo and kto, two fifths for orpo, 0.45 for reward, a tenth for grpo,"
        " rloo and distill. The report and the tracker name the one in force.",
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        "cosine", description="Course of the learning rate after the warm-up: to 0 by a cosine or a line, or constant."
    )
    warmup_steps: float = Field(0.03, ge=0, description="Optimizer steps; below 1: share of all steps.")
    num_train_epochs: float | None = Field(None, gt=0, description="Passes over the rows; None and no max_steps: 1.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; excludes num_train_epochs.")
    per_device_train_batch_size: int = Field(8, ge=1, description="Rows (packs, when packing) per forward pass.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    optim: Literal[
        "adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit",
        "lion_32bit", "lion_8bit",
    ] = Field(
        "adamw_torch_fused",
        description="Optimizer. adafactor keeps a hundredth of AdamW's state, those of 8 bits a quarter, lion half of"
        " it; paged ones put it in the machine's memory where the GPU's is full. Those of 8 bits, paged ones and lion"
        " are bitsandbytes' (an extra).",
    )  # fmt: skip
    weight_decay: float = Field(
        0.0, ge=0, description="Decay per step, times the learning rate, decoupled; sgd: added to the gradient."
    )
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW, Lion: decay of the mean of gradients.")
    adam_beta2: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="AdamW, Lion: decay of the mean of squared gradients (Lion: of gradients, as it is kept).",
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0: never.")
    neftune_noise_alpha: float | None = Field(
        None, gt=0, description="Noise on embeddings (NEFTune, arXiv 2310.05914: 5 to 15); None: off."
    )

    new_tokens: tuple[str, ...] = Field(
        (), description="Tokens that are added to the tokenizer; their rows of embeddings and head are trained."
    )
    new_tokens_from: Literal["pieces", "mean"] = Field(
        "pieces", description="How their embeddings begin: mean of the tokens that they were before, or of all."
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
    hub_model_id: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Model repository of a Hugging Face hub, OWNER/NAME, that checkpoints are copied to as well; one"
        " that isn't there is made, a private one. HF_TOKEN and HF_ENDPOINT are read. None: nowhere.",
    )

    seed: int = Field(42, ge=0, description="Of new weights, of dropout and of the order of the rows.")
    num_threads: int = Field(
        1, ge=1, description="CPU threads of torch. Another number gives other rounding, so other weights."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto: cuda where there is one, else cpu. mps: a Mac's GPU, which nobody has run this on."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Weights in memory. auto: bfloat16 for lora on a GPU (adapter in float32), else float32."
    )
    bf16: Literal["auto"] | bool = Field("auto", description="bfloat16 autocast. auto: on a GPU that has it.")
    fp16: Literal["auto"] | bool = Field(
        "auto",
        description="float16 autocast with a scaled loss. auto: on a GPU without bfloat16 of its own (T4, V100).",
    )
    gradient_checkpointing: Literal["auto"] | bool = Field(
        "auto", description="Recompute activations instead of keeping them. auto: on a GPU."
    )

    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3"] = Field(
        "auto",
        description="How attention is computed. auto: transformers' choice, sdpa for most models. Flash attention needs"
        " a GPU, 16-bit computing and the package flash_attn (flash_attn_interface for 3).",
    )
    use_liger_kernel: bool = Field(
        False,
        description="Fused Triton kernels of norms, rotations and MLP (arXiv 2410.10989): a GPU, and the package"
        " liger_kernel.",
    )
    torch_compile: bool = Field(
        False,
        description="Compile the forward and backward passes: minutes at the start, and again for new shapes. Worth it"
        " where `assay plan CONFIG --probe` says so, with it and without.",
    )

    @model_validator(mode="after")
    def _validated_on_the_way(self) -> Self:
        if self.eval_steps is None and (named := self.needs_validation()):
            raise ValueError(f"{', '.join(named)}: set eval_steps, how often the validation loss is measured")
        return self

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.bf16 is True and self.fp16 is True:
            raise ValueError("bf16 and fp16 clash (remove one of them)")
        if self.max_steps is not None and self.num_train_epochs is not None:
            raise ValueError("max_steps and num_train_epochs clash (remove one of them)")
        return self

    @model_validator(mode="after")
    def _rate_of_lion(self) -> Self:
        if self.optim.startswith("lion") and self.learning_rate is None:
            raise ValueError(
                f"optim {self.optim} wants a learning_rate of its own: 3 to 10 times smaller than AdamW's"
                " (arXiv 2302.06675)"
            )
        return self


TrainingDevice: TypeAlias = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Plan:
    """Settings in force, none of them "auto" or by weights."""

    device: TrainingDevice
    dtype: Literal["float32", "bfloat16"]
    bf16: bool
    gradient_checkpointing: bool
    loss_kernel: Literal["fused", "plain"]
    learning_rate: float
    fp16: bool = False
    # Processes that share each batch, and how; of one alone "none".
    processes: int = 1
    strategy: Literal["none", "ddp", "fsdp2", "deepspeed"] = "none"
    # Of deepspeed: its stage (0: of others), and what lies in the machine's memory.
    zero_stage: int = 0
    offload: Literal["none", "optimizer", "all"] = "none"
    # Machines that these are on. The weights don't depend on it.
    nodes: int = 1
