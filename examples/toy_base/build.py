"""Make a small Llama and its tokenizer here, from generated text, without any download."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples.toy_base.corpus import Sequence, sequences, tokenizer_texts
from examples.toy_base.options import ToyOptions
from steps.engines.lm.threads import torch_threads
from steps.engines.progress.progress import Progress

# Qwen2's pre-tokenization: words take their leading space, every digit is a token of its own
# (Qwen/Qwen2-0.5B tokenizer.json; llama.cpp knows it as "qwen2", so an export is understood there).
_PRETOKEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# ChatML; the {% generation %} markers tell a trainer which tokens are the assistant's.
CHAT_TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\n' }}"
    "{%- if m['role'] == 'assistant' %}{%- generation %}{{- m['content'] + '<|im_end|>' }}{%- endgeneration %}"
    "{{- '\n' }}{%- else %}{{- m['content'] + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Chosen: enough text for every word of the generators to become one token (4,000 sequences hold about 150,000 words).
_TOKENIZER_SEQUENCES = 4_000
# Sequences drawn at once and sorted by length, in batches: little padding, still mixed.
_POOL_BATCHES = 16
# Loss weights per token, where a token of an answer counts 1; chosen so that the few tokens of values are heard.
_TEXT_WEIGHT, _PROMPT_WEIGHT = 0.3, 0.1
# Share of the tokens of prompts whose loss is computed in a step, drawn anew each time: they are two thirds of all, and
# the head over all of them costs a quarter of a step.
_HEARD = 0.25
# Sequences are padded to a multiple of so many tokens, and losses computed of a multiple of so many: oneDNN compiles
# each shape once, which takes longer than using it.
_WIDTH_STEP, _HEARD_STEP = 16, 128
_EMBEDDING_STD = 0.05

NOTES = (
    "A toy: about 1 M weights, trained here for minutes on generated sentences and extraction tasks.",
    "It shows the pipeline on a machine without a GPU or a network; it knows nothing of the world.",
)


def build(options: ToyOptions, seed: int, num_threads: int, folder: Path) -> tuple[str, ...]:
    """Train the model and write it with its tokenizer to `folder`. Returns what its card must say.

    The same arguments give the same bytes on the same kind of processor.
    """
    import torch

    state = torch.get_rng_state()
    try:
        with torch_threads(num_threads), _products_in_bfloat16():
            torch.manual_seed(seed)
            tokenizer = make_tokenizer(options, seed)
            model = make_model(options, tokenizer)
            _train(model, tokenizer, options, seed)
    finally:
        torch.set_rng_state(state)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return NOTES


@contextmanager
def _products_in_bfloat16() -> Iterator[None]:
    """Products by oneDNN, which may round their factors to bfloat16 (sums stay float32) and does so with AMX.

    With AVX-512 alone it computes them in float32, on AMD's processors twice as fast as MKL, torch's own choice.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def make_tokenizer(config: ToyOptions, seed: int) -> Any:
    """A byte-level BPE tokenizer with ChatML's special tokens and template."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.decoder = decoders.ByteLevel()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PRETOKEN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        show_progress=False,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    texts = tokenizer_texts(config, random.Random(f"{seed}:tokenizer"), _TOKENIZER_SEQUENCES)
    bpe.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=config.max_positions,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(config: ToyOptions, tokenizer: Any) -> Any:
    """An untrained Llama with tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=True,
            rope_parameters={"rope_theta": 10_000.0, "rope_type": "default"},
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            # torch's fused attention is slow for short sequences, three times so where products are in bfloat16.
            attn_implementation="eager",
        )
    )
    _relate_embeddings(model.get_input_embeddings().weight.data, tokenizer.get_vocab())
    return model


def _relate_embeddings(weights: Any, vocabulary: dict[str, int]) -> None:
    """Start forms of one word (" Lamp", "lamp", "lamps") close to each other. Shape (vocabulary, hidden), in place.

    In JSON a value has no space before it and in a sentence it has one, so that copying a value means to map one token
    to another, word by word. Starting them as near relatives makes copying one thing to learn.
    """
    weights.normal_(0, _EMBEDDING_STD)
    for token, at in sorted(vocabulary.items(), key=lambda item: item[1]):
        word = token.lstrip("Ġ").lower()
        for form in (word, word.removesuffix("s")):
            if len(form) > 1 and vocabulary.get(form, at) != at:
                # Unit variance is kept: 0.9 squared + 0.435 squared = 1.
                weights[at] = 0.9 * weights[vocabulary[form]] + 0.435 * weights[at]
                break


def _train(model: Any, tokenizer: Any, options: ToyOptions, seed: int) -> None:
    import torch

    optimizers = _optimizers(model, options)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, options)) for o in optimizers]
    model.train()
    with Progress("toy base model", options.steps, "steps") as progress:
        text = random.Random(f"{seed}:text")
        batches = _batches(tokenizer, options, text, lambda: _bare_share(progress.done, options))
        for _ in range(options.steps):
            ids, weights = next(batches)
            model.zero_grad(set_to_none=True)
            _loss(model, ids, weights).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for part in (*optimizers, *schedules):
                part.step()
            progress.advance()
    model.eval()


def _loss(model: Any, ids: Any, weights: Any) -> Any:
    """Mean negative log-likelihood (nats) of the tokens by their weights, both of shape (batch, longest)."""
    import torch

    # Padding is on the right and attention looks left only, so no mask is needed.
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    heard, weights = _heard(weights[:, 1:].flatten())
    losses = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[heard]), ids[:, 1:].flatten()[heard], reduction="none"
    )
    return (losses * weights).sum() / weights.sum()


def _heard(weights: Any) -> tuple[Any, Any]:
    """Positions of all tokens but some of prompts, and their weights: a prompt's that is drawn stands for the others.

    Args:
        weights: (n,), 0 where there is padding.
    """
    import torch

    always = (weights > _PROMPT_WEIGHT).nonzero().flatten()
    prompts = (weights == _PROMPT_WEIGHT).nonzero().flatten()
    wanted = math.ceil((len(always) + _HEARD * len(prompts)) / _HEARD_STEP) * _HEARD_STEP - len(always)
    drawn = prompts[torch.randperm(len(prompts))[:wanted]]
    share = len(drawn) / max(1, len(prompts))
    return torch.cat([always, drawn]), torch.cat([weights[always], weights[drawn] / share])


def _optimizers(model: Any, config: ToyOptions) -> list[Any]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    import torch

    from examples.toy_base.muon import Muon

    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=config.muon_learning_rate),
        torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]


def _bare_share(step: int, config: ToyOptions) -> float:
    """All tasks are bare lists in the first half of `bare_until`, ever fewer in the second, none after it."""
    if not config.bare_until:
        return 0.0
    return min(1.0, max(0.0, 2 - 2 * step / (config.steps * config.bare_until)))


def _rate(step: int, config: ToyOptions) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to a twentieth."""
    warmup = max(1, round(config.warmup_share * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, config.steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


def _batches(
    tokenizer: Any, config: ToyOptions, rng: random.Random, bare_share: Callable[[], float]
) -> Iterator[tuple[Any, Any]]:
    """Input ids and loss weights, each of shape (batch_size, longest), from pools sorted by length."""
    import torch

    stream = sequences(config, rng, bare_share)
    size = config.batch_size
    while True:
        pool = sorted((_encode(tokenizer, next(stream)) for _ in range(size * _POOL_BATCHES)), key=lambda p: len(p[0]))
        starts = list(range(0, len(pool), size))
        rng.shuffle(starts)
        for start in starts:
            rows = pool[start : start + size]
            width = math.ceil(max(len(ids) for ids, _ in rows) / _WIDTH_STEP) * _WIDTH_STEP
            yield (
                torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
                torch.tensor([weights + [0.0] * (width - len(weights)) for _, weights in rows]),
            )


def _encode(tokenizer: Any, item: Sequence) -> tuple[list[int], list[float]]:
    """Token ids and loss weights of one sequence."""
    if item.example is None:
        ids = tokenizer(item.text + "<|endoftext|>")["input_ids"]
        return ids, [_TEXT_WEIGHT] * len(ids)
    prompt = tokenizer(f"<|im_start|>user\n{item.example.prompt}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    answer = tokenizer(f"{item.example.answer}<|im_end|>\n")["input_ids"]
    return prompt + answer, [_PROMPT_WEIGHT] * len(prompt) + [1.0] * len(answer)
