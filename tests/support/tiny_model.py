"""A Llama of 2 layers and width 32 with a byte-level BPE tokenizer and a ChatML template, built on the spot."""

from pathlib import Path

from steps.contracts.digests import folder_digests, value_digest
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo

CHATML = (
    "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\n' }}{%- if m['role'] == 'assistant' %}"
    "{%- generation %}{{- m['content'] + '<|im_end|>' }}{%- endgeneration %}{{- '\n' }}"
    "{%- else %}{{- m['content'] + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
# The same text without markers.
CHATML_PLAIN = CHATML.replace("{%- generation %}", "").replace("{%- endgeneration %}", "")
CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "What colour is the sky? The sky is blue.",
    "1 2 3 4 5 6 7 8 9",
]


def tiny_tokenizer(vocab_size=320, template=CHATML, corpus=CORPUS):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.decoder = decoders.ByteLevel()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = template
    return tokenizer


def tiny_llama(vocab_size, *, hidden=32, layers=2, heads=2, inter=80, seed=0):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=hidden, intermediate_size=inter, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=512, tie_word_embeddings=True,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}, bos_token_id=None, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def build_tiny_model(folder: Path, **shape) -> ModelFolder:
    """Write weights and tokenizer into `folder`; a base with source "scratch"."""
    tokenizer = tiny_tokenizer()
    model = tiny_llama(len(tokenizer), **shape)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    files = folder_digests(folder)
    digest = value_digest(files)
    base = BaseRef(source="scratch", name="scratch", digest=digest)
    parameters = sum(p.numel() for p in model.parameters())
    return ModelFolder(ModelInfo(kind="full", base=base, digest=digest, files=files, parameters=parameters), folder)


def tiny_dataset(folder: Path, rows=None, *, validation=0):
    """A dataset version of `rows` (default: 40 conversations); the last `validation` rows are the validation split."""
    import numpy as np

    from steps.contracts.dataset import DatasetWriter
    from steps.contracts.records import SPLITS

    rows = [tiny_row(i) for i in range(40)] if rows is None else rows
    writer = DatasetWriter(folder / "all", "ingest")
    writer.write_rows(rows)
    codes = np.array([SPLITS.index("train")] * (len(rows) - validation) + [SPLITS.index("validation")] * validation)
    return writer.close().select(np.ones(len(rows), bool), folder / "split", "split", codes)


def tiny_row(number, answer=None, **fields):
    from steps.contracts.records import make_row, message

    answer = answer if answer is not None else f"The sky is {number % 7}."
    messages = [message("user", f"What colour is {number}?"), message("assistant", answer)]
    content = {"kind": "conversation", "messages": messages, **fields}
    return make_row(source="tiny", locator=f"line:{number}", raw=str(number).encode(), **content)
