"""Rows to text and tokens through a tokenizer's chat template, and the one place that says which tokens are trained.

A turn of the assistant is trained from its first content character to its end-of-turn token; everything else is
context. Which characters those are comes from one of three sources, tried in this order:

own     the tokenizer's template has `{% generation %}` markers
trl     the template is one that TRL knows, and TRL's copy with markers renders the same text
prefix  the template renders a conversation's beginning as a prefix of the whole: a turn is what it adds to the prompt
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import Row
from steps.contracts.thinking import THINK_TAG, with_tags

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # torch.nn.CrossEntropyLoss's default ignore_index
_MARKERS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")

Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class TrainingTemplate:
    """How spans are found: `text` is the Jinja template to render with."""

    source: Literal["own", "trl", "prefix"]
    text: str


@dataclass(frozen=True)
class Rendered:
    """A row as text; `spans` are the trained [start, end) character ranges, ascending and disjoint."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Encoded:
    """A row as tokens: `labels[i]` is `input_ids[i]` where the token is trained, else -100; both of length n."""

    input_ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return len(self.labels) - self.labels.count(IGNORED)


def training_template(tokenizer: "PreTrainedTokenizerBase") -> TrainingTemplate:
    """The template to train with; costs a few renderings when the tokenizer's own has no markers.

    Raises:
        TrainingDataError: the tokenizer has no chat template.
    """
    text = _template_text(tokenizer)
    if _MARKERS.search(text):
        return TrainingTemplate("own", text)
    from trl.chat_template_utils import get_training_chat_template

    try:
        patched = get_training_chat_template(tokenizer)
    except ValueError:  # TRL doesn't know this template
        patched = None
    return TrainingTemplate("trl", patched) if patched else TrainingTemplate("prefix", text)


def chat_messages(row: Row, template: str = "") -> list[dict[str, Any]]:
    """A row's messages (a preference's prompt and chosen answer) as chat templates expect them.

    Tool calls are parsed from JSON, and so are their arguments: most templates render arguments with `tojson`.
    Reasoning has the name under which templates look for it. Reasoning that stood in think tags goes back into them
    where the template (its text) writes no reasoning: what was said is trained either way.
    """
    messages = [*row["messages"], *row["chosen"]]
    if any(m.get("reasoning") is not None for m in messages) and "reasoning" not in template:
        tag = json.loads(row.get("meta") or "{}").get(THINK_TAG)
        messages = with_tags(messages, tag) if isinstance(tag, str) else messages
    return [_chat_message(m) for m in messages]


def _chat_message(stored: Row) -> dict[str, Any]:
    found = {k: v for k, v in stored.items() if v is not None and k not in ("tool_calls", "weight", "reasoning")}
    if stored.get("reasoning") is not None:
        found["reasoning_content"] = stored["reasoning"]
    if stored.get("tool_calls"):
        found["tool_calls"] = [_tool_call(call) for call in json.loads(stored["tool_calls"])]
    return found


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except json.JSONDecodeError:  # the model wrote broken arguments; the template gets them as they are
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _tools(row: Row) -> list[dict[str, Any]] | None:
    return json.loads(row["tools"]) if row["tools"] else None


def _template_text(tokenizer: "PreTrainedTokenizerBase", tools: list[dict[str, Any]] | None = None) -> str:
    try:
        return str(tokenizer.get_chat_template(tools=tools))
    except ValueError as e:
        raise TrainingDataError(
            "the tokenizer has no chat template, so conversations can't be rendered",
            where=str(tokenizer.name_or_path),
            hint="take the instruct version of the model, or put a chat_template.jinja beside its tokenizer",
        ) from e


def _render(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    template: str,
    *,
    prompt: bool = False,
    spans: bool = False,
) -> Rendered:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        texts, ranges = render_jinja_template(
            conversations=[messages], tools=tools, chat_template=template, return_assistant_tokens_mask=spans,
            add_generation_prompt=prompt, **tokenizer.special_tokens_map,
        )  # fmt: skip
    except (TemplateError, TypeError, KeyError) as e:
        roles = ", ".join(str(m.get("role")) for m in messages)
        raise TrainingDataError(
            f"the chat template refuses a conversation with the roles {roles}: {type(e).__name__}",
            hint="the model's template may forbid system or tool messages, or turns that don't alternate",
        ) from e
    return Rendered(texts[0], tuple((int(a), int(b)) for a, b in ranges[0]) if spans else ())


def render(tokenizer: "PreTrainedTokenizerBase", row: Row, template: TrainingTemplate | None = None) -> Rendered:
    """The whole row as text with its trained spans. A document is its text and the EOS token, all of it trained.

    Raises:
        TrainingDataError: no template, the template refuses the row, (source "prefix") no prefix property, or a turn
            of weight 0 whose span can't be told.
    """
    if row["kind"] == "document":
        text = (row["text"] or "") + (tokenizer.eos_token or "")
        return Rendered(text, ((0, len(text)),) if text else ())
    template = template or training_template(tokenizer)
    messages, tools = chat_messages(row, template.text), _tools(row)
    if template.source == "prefix":
        rendered = _render_by_prefix(tokenizer, messages, tools, template.text)
    else:
        rendered = _render(tokenizer, messages, tools, template.text, spans=True)
        rendered = _tight(rendered, messages) if template.source == "trl" else rendered
    return _weighted(rendered, row)


def is_trained(row: Row) -> list[bool]:
    """Per assistant turn of the row (of a preference's prompt and chosen answer) whether it is trained."""
    return [m.get("weight") != 0 for m in [*row["messages"], *row["chosen"]] if m["role"] == "assistant"]


def _weighted(rendered: Rendered, row: Row) -> Rendered:
    """Without the spans of the turns that are context only."""
    trained = is_trained(row)
    if all(trained):
        return rendered
    if len(trained) != len(rendered.spans):
        raise TrainingDataError(
            f"the chat template trains {len(rendered.spans)} stretches of {len(trained)} assistant turns, so that the"
            " turns of weight 0 can't be told",
            hint="leave the weights out, or take a template that renders every turn of the assistant",
        )
    return Rendered(rendered.text, tuple(s for s, wanted in zip(rendered.spans, trained, strict=True) if wanted))


def _tight(rendered: Rendered, messages: list[dict[str, Any]]) -> Rendered:
    """The spans without the white space that TRL's markers enclose: the prompt's end, and what follows the end marker.

    A span that can't be matched to its turn stays as it is; the mask lint judges it.
    """
    contents = [str(m["content"]) for m in messages if m["role"] == "assistant"]
    if len(contents) != len(rendered.spans):
        return rendered
    spans: list[Span] = []
    for (start, end), content in zip(rendered.spans, contents, strict=True):
        turn = rendered.text[start:end]
        blank = len(turn) - len(turn.lstrip())
        at = turn.find(content) if content else blank
        lead = at if 0 < at <= blank else (0 if at == 0 else blank)
        spans.append((start + lead, start + len(turn.rstrip())))
    return Rendered(rendered.text, tuple((a, b) for a, b in spans if b > a))


def _render_by_prefix(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    template: str,
) -> Rendered:
    """Spans without markers: what each assistant turn adds to the prompt before it, trailing white space left out."""
    whole = _render(tokenizer, messages, tools, template).text
    spans: list[Span] = []
    for i, m in enumerate(messages):
        if m["role"] != "assistant":
            continue
        before = _render(tokenizer, messages[:i], tools, template, prompt=True).text if i else ""
        through = _render(tokenizer, messages[: i + 1], tools, template).text
        if not (through.startswith(before) and whole.startswith(through)):
            raise TrainingDataError(
                f"the chat template has no {{% generation %}} markers, and message {i} renders differently alone than"
                " in the whole conversation, so the trained tokens can't be told",
                hint="put {% generation %} … {% endgeneration %} around the assistant's content in the chat template",
            )
        spans.append((len(before), len(through.rstrip())))
    return Rendered(whole, tuple((a, b) for a, b in spans if b > a))


def encode(tokenizer: "PreTrainedTokenizerBase", row: Row, template: TrainingTemplate | None = None) -> Encoded:
    """A row as token ids and labels, not cut to any length. Pass `template` when encoding many rows.

    A token that straddles the start of a turn (the prompt's end merged with the first content characters) is
    trained, as in transformers' own assistant mask.
    """
    return tokenize(tokenizer, render(tokenizer, row, template))


def encode_rows(tokenizer: "PreTrainedTokenizerBase", rows: Iterable[Row]) -> Iterator[Encoded]:
    """`encode` for many rows, the template looked up once."""
    template = training_template(tokenizer) if tokenizer.chat_template else None
    for row in rows:
        yield encode(tokenizer, row, template)


def tokenize(tokenizer: "PreTrainedTokenizerBase", rendered: Rendered) -> Encoded:
    """Token ids and labels of rendered text; no special token is added (templates write their own)."""
    if not tokenizer.is_fast:
        raise TrainingDataError(
            "the tokenizer gives no character offsets, so trained tokens can't be told",
            where=str(tokenizer.name_or_path),
            hint="use a model with a fast tokenizer (tokenizer.json)",
        )
    # verbose=False: transformers would warn about rows longer than the model's context; the caller decides on those.
    out = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = out["input_ids"]
    return Encoded(ids, _labels(ids, out["offset_mapping"], rendered.spans))


def _labels(ids: list[int], offsets: list[Span], spans: tuple[Span, ...]) -> list[int]:
    """Labels of the tokens that overlap a span; offsets ascend, so both ends are found by bisection."""
    if any(b[0] < a[1] for a, b in pairwise(spans)):
        raise TrainingDataError("the chat template's {% generation %} blocks overlap", hint="nest no such blocks")
    labels = [IGNORED] * len(ids)
    for start, end in spans:
        first = bisect_right(offsets, start, key=lambda o: o[1])
        stop = bisect_left(offsets, end, key=lambda o: o[0])
        labels[first:stop] = ids[first:stop]
    return labels


def prompt_and_reference(tokenizer: "PreTrainedTokenizerBase", row: Row) -> tuple[str, str]:
    """The prompt up to the last assistant turn, rendered for generation, and what that turn says.

    A turn that only calls tools has no content; its reference is then the turn as the template renders it, without
    special tokens. A document has no prompt.

    Raises:
        TrainingDataError: the row is a document or has no assistant turn.
    """
    tools = _tools(row)
    template = _template_text(tokenizer, tools)
    messages = chat_messages(row, template)
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=None)
    if last is None:
        raise TrainingDataError(
            f"a {row['kind']} without an assistant turn has no prompt and reference",
            where=f"row {row['record_id']}",
            hint="evaluate such rows by perplexity, or leave them out of the split",
        )
    prompt = _render(tokenizer, messages[:last], tools, template, prompt=True).text
    reference = messages[last]["content"]
    if not reference and messages[last].get("tool_calls"):
        whole = _render(tokenizer, messages[: last + 1], tools, template).text
        turn = whole[len(prompt) :] if whole.startswith(prompt) else whole
        ids = tokenizer(turn, add_special_tokens=False)["input_ids"]
        reference = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
    return prompt, reference
