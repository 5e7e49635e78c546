"""Which tokens end an answer: of the tokenizer, of the model, and of the chat template, found by rendering with it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.load import LoadedModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Words of the small conversations, which no template writes by itself.
_SAID, _AFTER = "Quillfeather", "Umbraferry"
_ASKED = {"role": "user", "content": "Hello"}
# Ids of nine letters and digits: Mistral's templates refuse others.
_CALL = {"id": "call12345", "type": "function", "function": {"name": "look_up", "arguments": {"word": _SAID}}}
_PARAMETERS = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
_TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks up.", "parameters": _PARAMETERS}}
_CALLED = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_RESULT = {"role": "tool", "name": "look_up", "tool_call_id": "call12345", "content": _AFTER}
# Llama 3.1 ends a call that its own environment answers by another token, and takes its tools under this name.
_TOOL_NAMES: tuple[Mapping[str, Any], ...] = ({"tools": [_TOOL]}, {"tools": [_TOOL], "builtin_tools": ["look_up"]})


def stop_ids(loaded: LoadedModel) -> list[int]:
    """Token ids that end an answer, ascending: the tokenizer's eos, the model's own (training adds what ended the
    trained turns), and what the chat template ends the assistant's turns with.

    Raises:
        ConfigError: there is none, or the model names something else than ids.
    """
    model = loaded.model
    own = [getattr(model.generation_config, "eos_token_id", None), getattr(model.config, "eos_token_id", None)]
    listed = [i for one in own for i in (one if isinstance(one, list | tuple) else [one])]
    wrong = next((i for i in listed if i is not None and not isinstance(i, int)), None)
    if wrong is not None:
        raise ConfigError(
            f"the model's eos_token_id is {wrong!r}, which is no token id",
            hint="write the token's number into its generation_config.json or config.json",
        )
    found = [loaded.tokenizer.eos_token_id, *listed, *end_markers(loaded.tokenizer)]
    ids = sorted({int(i) for i in found if i is not None})
    if not ids:
        raise ConfigError("the tokenizer has no eos token, so an answer has no end", hint="set eos_token in it")
    return ids


def end_markers(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Ids of the special or added tokens with which the tokenizer's chat template ends a turn of the assistant, of
    text and of tool calls, ascending; empty where it has no template, or one that writes no such token.

    Of a turn that ends a conversation, since templates may write another token into a past one (gpt-oss: `<|end|>`,
    which also ends the reasoning before an answer); where nothing ends it, what begins the next turn.
    """
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special} | set(tokenizer.all_special_ids)
    added = {i for i, t in tokenizer.added_tokens_decoder.items() if t.content.strip()} - special
    said = [_ASKED, {"role": "assistant", "content": _SAID}]
    final = _tail(tokenizer, said)
    past = _tail(tokenizer, [*said, {"role": "user", "content": _AFTER}])
    text = _first(final, special) or _first(final, added) or _first(past, special) or _first(past, added)
    ends = {*text, *([] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)])}
    calls: set[int] = set()
    for tools in _TOOL_NAMES:
        called = _tail(tokenizer, [_ASKED, _CALLED], tools)
        if not ends & set(called):
            # Templates close a call itself before they end the turn.
            past = _tail(tokenizer, [_ASKED, _CALLED, _RESULT], tools)
            calls |= _first(called[::-1], special) or _first(past, special)
    return sorted({*text, *calls})


def _first(ids: Sequence[int], of: Iterable[int]) -> set[int]:
    """The first of some ids, when there is one."""
    wanted = set(of)
    return set([i for i in ids if i in wanted][:1])


def _tail(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[Mapping[str, Any]],
    tools: Mapping[str, Any] | None = None,
) -> list[int]:
    """Token ids between what the assistant says and the next message's content, or the end; empty where the template
    refuses the conversation or doesn't write what was said.
    """
    try:
        text = str(tokenizer.apply_chat_template([dict(m) for m in messages], tokenize=False, **(tools or {})))
    except Exception:  # noqa: BLE001 - templates refuse what they don't know in every way that Jinja and Python have
        return []
    at = text.rfind(_SAID)
    if at < 0:
        return []
    tail = text[at + len(_SAID) :].split(_AFTER, maxsplit=1)[0]
    ids: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"]
    return ids
