"""What llama.cpp's converter reads of a tokenizer and transformers writes no more: SentencePiece's own file, its added
tokens, and whether BOS is put before a prompt.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

# The tokenizer's own file of models that were made with SentencePiece.
SENTENCEPIECE = "tokenizer.model"
_TOKENIZER, _CONFIG = "tokenizer.json", "tokenizer_config.json"
# Of pieces that nothing is merged into; so low that nothing is.
_NEVER = -1e6
# llama-vocab.cpp
_KNOWN_ENDS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>",
})  # fmt: skip
_BOS_NOTE = (
    "the tokenizer puts BOS before texts, the chat template doesn't: the file says that none is put, so that texts"
    " to go on with get none either"
)


def write_tokenizer_files(folder: Path) -> list[str]:
    """Complete a folder of full weights; returns what its user must know.

    A tokenizer.model that lies there stays.
    """
    described = json.loads((folder / _TOKENIZER).read_text("utf-8"))
    config = json.loads((folder / _CONFIG).read_text("utf-8"))
    adds, notes = _adds_bos(folder)
    config["add_bos_token"] = adds
    if notes:  # which goes before the setting there
        described["post_processor"] = None
        (folder / _TOKENIZER).write_text(json.dumps(described, ensure_ascii=False), "utf-8")
    if _is_sentencepiece(described):
        if not (folder / SENTENCEPIECE).is_file():
            (folder / SENTENCEPIECE).write_bytes(_model(described))
        config["added_tokens_decoder"] = {str(t["id"]): t for t in described["added_tokens"]}
        config["add_prefix_space"] = _prefixes(described)
    (folder / _CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=1), "utf-8")
    return notes


def swallows(folder: Path, needed: Sequence[str]) -> bool:
    """Whether special tokens swallow the white space behind them, and the tokenizer has all of `needed`."""
    described = json.loads((folder / _TOKENIZER).read_text("utf-8"))
    added = described["added_tokens"]
    known = {t["content"] for t in added} | set((described.get("model") or {}).get("vocab", ()))
    return any(t["special"] and t["rstrip"] for t in added) and known.issuperset(needed)


def further_ends(folder: Path) -> list[int]:
    """Tokens that end an answer by generation_config.json, beside EOS and those that llama.cpp knows by their texts."""
    from transformers import AutoTokenizer

    named = json.loads((folder / "generation_config.json").read_text("utf-8"))["eos_token_id"]
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    ids = named if isinstance(named, list) else [named]
    texts = tokenizer.convert_ids_to_tokens(ids)
    return [i for i, text in zip(ids, texts, strict=True) if text not in _KNOWN_ENDS and i != tokenizer.eos_token_id]


def _is_sentencepiece(described: Mapping[str, Any]) -> bool:
    """A tokenizer.json that was made of SentencePiece's BPE: pieces that fall back to bytes, and a piece for the
    unknown.
    """
    model = described.get("model") or {}
    return model.get("type") == "BPE" and bool(model.get("byte_fallback")) and model.get("unk_token") in model["vocab"]


def _prefixes(described: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text: by a normaliser, or by the splitting rule."""
    normaliser = described.get("normalizer") or {}
    steps = normaliser.get("normalizers") or [normaliser]
    splitting = described.get("pre_tokenizer") or {}
    put = splitting.get("type") == "Metaspace" and splitting.get("prepend_scheme", "always") != "never"
    return put or any(step.get("type") == "Prepend" for step in steps)


def _model(described: Mapping[str, Any]) -> bytes:
    """SentencePiece's file: the pieces in their order, those that are merged earlier with the higher score."""
    made: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    model = described["model"]
    merged: dict[str, int] = {}
    for rank, pair in enumerate(model["merges"]):
        left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
        merged.setdefault(left + right, rank)
    control = {t["content"] for t in described["added_tokens"] if t["special"]}
    proto = made.ModelProto()
    proto.trainer_spec.model_type = made.TrainerSpec.BPE
    proto.trainer_spec.byte_fallback = True
    kinds = made.ModelProto.SentencePiece
    for text, _ in sorted(model["vocab"].items(), key=lambda item: item[1]):
        piece = proto.pieces.add()
        piece.piece, piece.score, piece.type = text, float(-merged[text]) if text in merged else _NEVER, kinds.NORMAL
        if text == model["unk_token"]:
            piece.type = kinds.UNKNOWN
        elif text in control:
            piece.type = kinds.CONTROL
        elif len(text) == len("<0x00>") and text.startswith("<0x") and text.endswith(">"):
            piece.type = kinds.BYTE
    return bytes(proto.SerializeToString())


def _adds_bos(folder: Path) -> tuple[bool, list[str]]:
    """Whether llama.cpp is to put BOS before a prompt: where the tokenizer does, unless prompts by the chat template
    have none.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    bos = tokenizer.bos_token
    begins = bool(tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]) if bos else False
    if not begins or tokenizer.chat_template is None:
        return begins, []
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )
    return (True, []) if str(asked).startswith(bos) else (False, [_BOS_NOTE])
