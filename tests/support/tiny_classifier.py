"""A text classifier of a few thousand weights that learns on the spot to tell texts with certain words from others."""

from pathlib import Path

from steps.engines.lm.threads import torch_threads

WORDS = ["the", "a", "cat", "dog", "sits", "on", "mat", "and", "sleeps", "today", "she", "walks", "home", "you", "are"]


def trained_classifier(folder: Path, bad_words: list[str], labels: tuple[str, ...] = ("fine", "bad")) -> Path:
    """Two labels: the second one for texts with a bad word. One label: a regression, 1 for them and 0 for others.

    Reads 64 tokens; a token is a lower-case word.
    """
    import torch
    from transformers import BertForSequenceClassification

    tokenizer = _tokenizer([*bad_words, *WORDS])
    torch.manual_seed(0)
    model = BertForSequenceClassification(_config(len(tokenizer), labels))
    texts = [_text(number, bad_words) for number in range(200)]
    inputs = tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt")
    target = torch.arange(200) % 2
    with torch_threads(1):
        _train(model, inputs, target, regression=len(labels) == 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _train(model, inputs, target, regression: bool) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(100):
        logits = model(**inputs).logits
        if regression:
            loss = torch.nn.functional.mse_loss(logits[:, 0], 1.0 * target)
        else:
            loss = torch.nn.functional.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _text(number: int, bad_words: list[str]) -> str:
    """Six words; every odd text holds a bad one."""
    said = [WORDS[(number * 7 + place * (number % 11 + 1)) % len(WORDS)] for place in range(6)]
    if number % 2:
        said[number % 6] = bad_words[number // 2 % len(bad_words)]
    return " ".join(said)


def _tokenizer(words: list[str]):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", model_max_length=64
    )


def _config(vocabulary: int, labels: tuple[str, ...]):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=vocabulary, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=64, id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)},
        pad_token_id=0, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
