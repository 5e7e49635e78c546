"""Random models of a few thousand weights, one per architecture, shaped as published: what shares heads, ties its
embeddings, looks through a sliding window, caps its scores or has experts does so here, with the family's tokenizer.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.families.families import FAMILIES, tokenizer

from steps.contracts.digests import value_digest
from steps.contracts.models import BaseRef, ModelFolder
from steps.engines.lm.folder import count_parameters, model_files, model_folder

# Tokens; shorter than a prompt of the tests, so that what lies outside of it matters.
WINDOW = 16
CONTEXT = 512


@dataclass(frozen=True)
class Architecture:
    """A kind of model.

    Attributes:
        family: name in FAMILIES of the template and the tokenizer that such models have.
        config: class of transformers' configuration.
        shape: its arguments, beside those that all have (`_COMMON`) and the tokenizer's ids.
        linear: names of the layers that an adapter on all linear layers lies beside.
        experts: names of the weights that hold all experts in one tensor.
    """

    family: str
    config: str
    shape: Mapping[str, Any]
    linear: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    experts: tuple[str, ...] = ()


_COMMON = {
    "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "initializer_range": 0.2,
}  # fmt: skip
_ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
_ALTERNATING = ["sliding_attention", "full_attention"]
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_EXPERTS = ("experts.down_proj", "experts.gate_up_proj")

ARCHITECTURES: Mapping[str, Architecture] = {
    "Llama": Architecture(
        "Llama 3.2",
        "LlamaConfig",
        {
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 256,
            },
        },
    ),
    "Qwen3": Architecture("Qwen3", "Qwen3Config", {"head_dim": 16, "tie_word_embeddings": True}),
    "Gemma 2": Architecture(
        "Gemma 2",
        "Gemma2Config",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW, "layer_types": _ALTERNATING},
    ),
    "Gemma 3": Architecture(
        "Gemma 3",
        "Gemma3TextConfig",
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
            "num_key_value_heads": 1,
        },
    ),
    "Mistral": Architecture(
        "Mistral v0.3", "MistralConfig", {"sliding_window": None, "head_dim": 8, "rope_parameters": _ROPE}
    ),
    "Phi-3": Architecture(
        "Phi-3",
        "Phi3Config",
        {"sliding_window": WINDOW, "num_key_value_heads": 4, "original_max_position_embeddings": CONTEXT},
        linear=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    ),
    "Qwen3-MoE": Architecture(
        "Qwen3 2507",
        "Qwen3MoeConfig",
        {
            "head_dim": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
        },
        linear=_ATTENTION,
        experts=_EXPERTS,
    ),
    "Mixtral": Architecture(
        "Zephyr",
        "MixtralConfig",
        {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
        linear=_ATTENTION,
        experts=_EXPERTS,
    ),
    "gpt-oss": Architecture(
        "gpt-oss",
        "GptOssConfig",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATING,
            "rope_parameters": _ROPE,
        },
        linear=_ATTENTION,
        experts=_EXPERTS,
    ),
}

# What the published models' generation_config.json says, ends by the tokens' names: none of it may decide over answers
# that are compared, but for the ends.
_GENERATION: Mapping[str, Mapping[str, Any]] = {
    "Llama": {
        "do_sample": True, "temperature": 0.6, "top_p": 0.9,
        "eos_token_id": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    },
    "Qwen3": {
        "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
        "eos_token_id": ["<|im_end|>", "<|endoftext|>"],
    },
    "Gemma 2": {"cache_implementation": "hybrid", "eos_token_id": ["<eos>"]},
    "Gemma 3": {
        "cache_implementation": "hybrid", "do_sample": True, "top_k": 64, "top_p": 0.95,
        "eos_token_id": ["<eos>", "<end_of_turn>"],
    },
    "Phi-3": {"eos_token_id": ["<|endoftext|>", "<|assistant|>", "<|end|>"]},
    "Qwen3-MoE": {
        "do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8,
        "eos_token_id": ["<|im_end|>", "<|endoftext|>"],
    },
    "gpt-oss": {"do_sample": True, "eos_token_id": ["<|return|>", "<|endoftext|>", "<|call|>"]},
}  # fmt: skip


def tiny_config(name: str, **shape: Any) -> Any:
    """The configuration of a tiny model; `shape`: what of it is otherwise."""
    import transformers

    kind = ARCHITECTURES[name]
    words = tokenizer(FAMILIES[kind.family])
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    make: Callable[..., Any] = getattr(transformers, kind.config)
    # Published models have more rows than their tokenizers have tokens.
    padded = -(-(len(words) + 1) // 64) * 64
    return make(**{**_COMMON, **ids, "vocab_size": padded, **kind.shape, **shape})


def tiny_model(name: str, folder: Path, *, seed: int = 0, dtype: str = "float32", **shape: Any) -> ModelFolder:
    """Write a random model of the architecture and its family's tokenizer into `folder`; a base of source "scratch"."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(name, **shape), dtype=getattr(torch, dtype))
    model.save_pretrained(str(folder))
    words = tokenizer(FAMILIES[ARCHITECTURES[name].family])
    words.save_pretrained(str(folder))
    if name in _GENERATION:
        published = dict(_GENERATION[name])
        published["eos_token_id"] = words.convert_tokens_to_ids(published["eos_token_id"])
        published |= {"bos_token_id": words.bos_token_id, "pad_token_id": words.pad_token_id}
        (folder / "generation_config.json").write_text(json.dumps(published))
    base = BaseRef(source="scratch", name="scratch", digest=value_digest(model_files(folder)))
    return model_folder(folder, kind="full", base=base, parameters=count_parameters(folder))
