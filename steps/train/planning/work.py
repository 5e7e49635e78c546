"""How much a training step computes, and how long that takes at a stated share of a card's peak.

Operations are counted as in appendix B of PaLM (arXiv 2204.02311): two per weight and token in a forward pass, as many
again for the gradients of activations, and as many for those of the weights that are trained; and those of attention,
by the pairs of tokens that see each other.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

from steps.train.config import TrainConfig
from steps.train.memory_estimate import Shape
from steps.train.objectives.registry import objective_of
from steps.train.planning.devices import Device
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of

# Chosen: so many batches are drawn to see how much of them is padding.
_DRAWN = 200


def attention_operations(described: Any, length: int) -> float:
    """Of a forward pass over one row of `length` tokens: scores and sums, over the pairs that a causal mask leaves."""
    text = described.get_text_config()
    heads = getattr(text, "num_attention_heads", 0) or 0
    width = getattr(text, "head_dim", None) or text.hidden_size // max(heads, 1)
    keys, values = width, width
    if getattr(text, "kv_lora_rank", None):  # DeepSeek's latent attention
        keys, values = text.qk_nope_head_dim + text.qk_rope_head_dim, text.v_head_dim
    types = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    window = getattr(text, "sliding_window", None)
    pairs = 0.0
    for kind in types:
        if "attention" in kind and "linear" not in kind:
            seen = min(length, window) if "sliding" in kind and window else length
            pairs += length * seen - seen * seen / 2
    return float(2 * heads * (keys + values) * pairs)


def row_operations(shape: Shape, config: TrainConfig, plan: Plan, length: int) -> float:
    """Of a forward and backward pass over one row of `length` tokens: of each of its sequences, where an objective
    makes several of it, and of its reference model.
    """
    objective = objective_of(config.objective)
    adapter = weights_of(config.weights).stored_as == "adapter"
    multiplied = shape.multiplied + (shape.trainable if adapter else 0)
    forward = 2.0 * multiplied * length + attention_operations(shape.described, length)
    weight_gradients = 2.0 * min(shape.trainable, multiplied) * length
    attention = attention_operations(shape.described, length)
    found = 2 * forward + attention + weight_gradients
    if plan.gradient_checkpointing:  # of the layers, without the head
        text = shape.described.get_text_config()
        found += forward - 2.0 * text.vocab_size * text.hidden_size * length
    demand = objective.demand(config)
    found += forward if demand.reference != "none" else 0
    found += demand.asked_per_row * 2.0 * shape.asked * length
    return objective.sequences_per_row * found


def step_seconds(
    shape: Shape, config: TrainConfig, plan: Plan, device: Device, mfu: float, lengths: Sequence[int]
) -> float:
    """Seconds of an optimizer step over rows of such lengths in tokens, padding included; where the model answers
    itself, with answers as long as they may be, without the making of them.

    A pass takes as long as its operations at `mfu` of the peak, or as reading all weights does, whichever is longer.
    """
    rows = config.per_device_train_batch_size
    width = padded_length(lengths, rows, grouped=config.group_by_length)
    if answers := objective_of(config.objective).demand(config).answers:
        width = min(width + answers[2], config.max_length)
    computing = rows * row_operations(shape, config, plan, math.ceil(width)) / (mfu * device.peak(plan))
    held = (4 if plan.dtype == "float32" else 2) * shape.parameters
    reading = (3 if plan.gradient_checkpointing else 2) * held / (1e9 * device.bandwidth)
    # Gradients, weights and two moments are read, and all but the gradients written.
    update = 7 * 4 * shape.trainable / (1e9 * device.bandwidth)
    return config.gradient_accumulation_steps * max(computing, reading) + update


def answering_seconds(shape: Shape, config: TrainConfig, plan: Plan, device: Device, mfu: float) -> float:
    """Seconds in which the answers of an optimizer step are made, as long as they may be; 0: the objective makes none.

    All answers of a process are made at once. A token of each takes as long as its operations, or as reading all
    weights; that of the keys and values which are kept isn't counted.
    """
    answers = objective_of(config.objective).demand(config).answers
    if answers is None:
        return 0.0
    rows, _, length = answers
    computing = math.ceil(rows / plan.processes) * 2.0 * shape.multiplied / (mfu * device.peak(plan))
    reading = (4 if plan.dtype == "float32" else 2) * shape.parameters / (1e9 * device.bandwidth)
    return length * max(computing, reading)


def padded_length(lengths: Sequence[int], rows: int, *, grouped: bool) -> float:
    """Mean width in tokens of batches of `rows`, each as wide as its longest row.

    Args:
        grouped: whether rows of similar length are put together.
    """
    if not lengths:
        return 0.0
    if grouped or rows == 1:
        return sum(lengths) / len(lengths)
    drawn = random.Random(0)
    return sum(max(drawn.choices(lengths, k=rows)) for _ in range(_DRAWN)) / _DRAWN


def optimizer_steps(config: TrainConfig, sequences: int) -> int:
    """Of a phase over so many sequences (rows, or packs); of prompts that the model answers, in whole batches alone."""
    if config.max_steps is not None:
        return config.max_steps
    if answers := objective_of(config.objective).answers_per_prompt:
        batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
        return math.ceil(max(sequences * answers // batch, 1) * (config.num_train_epochs or 1.0))
    passes = math.ceil(sequences / config.per_device_train_batch_size)
    return math.ceil(math.ceil(passes / config.gradient_accumulation_steps) * (config.num_train_epochs or 1.0))
