"""New tokens: added to the tokenizer, and embedded by what the model knows of their pieces."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.load import load_tokenizer
from steps.train.settings import TrainSettings
from steps.train.start import Start

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

# Chosen: embeddings are padded to blocks of at most so many rows, if they were before.
_MOST_PADDED = 128


def tokenizer_of(start: Start, settings: TrainSettings) -> "PreTrainedTokenizerBase":
    """The tokenizer of what training starts from, with the new tokens. They are no special ones: answers keep them.

    Raises:
        ConfigError: it has one of them already.
    """
    from tokenizers import AddedToken

    tokenizer = load_tokenizer(start.tokenizer)
    known = tokenizer.get_vocab()
    if there := [t for t in settings.new_tokens if t in known]:
        raise ConfigError(
            f"{there[0]!r} is a token of the model already", where="train.new_tokens", hint="leave it out"
        )
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in settings.new_tokens])
    return tokenizer


def embed_new_tokens(
    model: Any, start: Start, tokenizer: "PreTrainedTokenizerBase", settings: TrainSettings, *, adapter: bool
) -> list[int]:
    """Give new tokens their rows in embeddings and head; returns their ids. Rows that only fill up a block are used
    first; more are added up to a whole block, where the model has blocks.

    Args:
        adapter: an adapter is trained, which lies over the rows that the weights have: no more can be added.

    Raises:
        ConfigError: rows would have to be added below an adapter.
    """
    import torch

    if not settings.new_tokens:
        return []
    ids = [int(i) for i in tokenizer.convert_tokens_to_ids(list(settings.new_tokens))]
    before = load_tokenizer(start.tokenizer)
    size, used = model.get_input_embeddings().weight.shape[0], len(before)
    if max(ids) >= size:
        if adapter:
            raise ConfigError(
                f"{len(ids)} new tokens need {max(ids) + 1} embeddings, the weights have {size}; an adapter can't add"
                " any",
                where="train.new_tokens", hint="train a phase of weights {kind: full} with them first",
            )  # fmt: skip
        model.resize_token_embeddings(max(ids) + 1, pad_to_multiple_of=_block(size), mean_resizing=False)
    pieces = {
        new: before(token, add_special_tokens=False).input_ids
        for new, token in zip(ids, settings.new_tokens, strict=True)
    }
    with torch.no_grad():
        for end in {id(m): m for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m}.values():
            _fill(end.weight, min(used, size), size, pieces if settings.new_tokens_from == "pieces" else {}, ids)
    return ids


def require_embeddings_trained(model: Any, ids: Sequence[int]) -> None:
    """Refuse new tokens whose embeddings would stay as they began.

    Raises:
        ConfigError: the embeddings are frozen.
    """
    if ids and not model.get_input_embeddings().weight.requires_grad:
        raise ConfigError(
            "new tokens are added, but the embeddings are frozen", where="train.weights",
            hint='train them: partial: trained: ["*embed_tokens*"]; half: embeddings: trained',
        )  # fmt: skip


def with_new_tokens(peft_config: Any, model: Any, tokenizer: "PreTrainedTokenizerBase", settings: TrainSettings) -> Any:
    """An adapter's configuration with the rows of new tokens, in embeddings and in a head that isn't tied to them,
    trained whole, where these aren't trained whole anyway.
    """
    if peft_config is None or not settings.new_tokens:
        return peft_config
    ids = [int(i) for i in tokenizer.convert_tokens_to_ids(list(settings.new_tokens))]
    ends = [model.get_input_embeddings()]
    if not model.config.get_text_config().tie_word_embeddings:
        ends.append(model.get_output_embeddings())
    names = [next(n for n, m in model.named_modules() if m is end).rsplit(".", 1)[-1] for end in ends]
    rest = [n for n in names if n not in (peft_config.modules_to_save or ())]
    peft_config.trainable_token_indices = dict.fromkeys(rest, ids) or None
    return peft_config


def let_head_be_read(model: Any) -> None:
    """TRL's fused loss reads weight and bias of the head; peft's, over new tokens' rows, has no bias where there is
    none.
    """
    head = model.get_output_embeddings()
    if head is not None and not hasattr(head, "bias"):
        head.bias = None


def _block(size: int) -> int:
    """The largest power of two, up to a bound, that divides the number of rows."""
    return min(size & -size, _MOST_PADDED)


def _fill(
    weight: "torch.Tensor", used: int, size: int, pieces: Mapping[int, Sequence[int]], ids: Sequence[int]
) -> None:
    """New tokens begin as the mean of their pieces' rows, or of all used ones, as do the rows that fill up a block."""
    exact = weight[:used].float()
    mean = exact.mean(0).to(weight.dtype)
    weight[size:] = mean
    for new in ids:
        own = pieces.get(new)
        weight[new] = exact[list(own)].mean(0).to(weight.dtype) if own else mean
