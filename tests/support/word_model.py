"""A random two-layer Llama over a word vocabulary: small enough that every test makes the truth by hand."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from steps.contracts.models import BaseRef, ModelFolder
from steps.engines.lm.folder import model_folder

WORDS = ["<pad>", "<eos>", *(f"w{i}" for i in range(60))]


def save_tiny(path: Path, seed: int) -> int:
    """Write a model and its tokenizer; returns the number of weights."""
    torch.manual_seed(seed)
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<pad>")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=48,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return sum(p.numel() for p in model.parameters())


def described(path: Path, parameters: int) -> ModelFolder:
    return model_folder(path, kind="full", base=BaseRef(source="scratch", name="scratch"), parameters=parameters)
