"""A small model that reads two texts together."""

from pathlib import Path

from support.tiny_model import tiny_tokenizer


def tiny_cross_encoder(folder: Path, labels: int = 1, seed: int = 0) -> Path:
    """A BERT of two layers with random weights, saved as a sequence classifier."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=128, num_labels=labels, pad_token_id=0,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    return folder
