"""Rows to text and tokens through a chat template, and the one place that says which tokens are trained.

A turn of the assistant is trained as it is generated: the text before it is the prompt that the template gives for that
point, and what is trained is the turn as it stands when it is the last one, with its end marker. Where the turns of a
row can't stand so in one text (templates that drop the reasoning of earlier turns, say), the row becomes several
sequences, each of them as at inference. Markers of `{% generation %}` in a template narrow what is trained.
"""

import hashlib
import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import Row
from steps.contracts.thinking import THINK_TAG, joined
from steps.engines.template import compiled
from steps.engines.template.config import TemplateConfig
from steps.engines.template.dialect import Dialect, dialect_of
from steps.engines.template.reasoning import Markers, markers_of
from steps.engines.tokens.encode import require_places

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # torch.nn.CrossEntropyLoss's default ignore_index
_MARKERS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_ID_LENGTH = 9  # what Mistral's templates ask of the ids of calls

Span: TypeAlias = tuple[int, int]
Messages: TypeAlias = list[dict[str, Any]]
Tools: TypeAlias = list[dict[str, Any]] | None


@dataclass(frozen=True)
class Rendered:
    """A text; `spans` are the trained [start, end) character ranges, ascending and disjoint.

    `bos`: the BOS token that the tokenizer, and no template, puts before `text`.
    """

    text: str
    spans: tuple[Span, ...]
    bos: str = ""


@dataclass(frozen=True)
class Encoded:
    """A text as tokens: `labels[i]` is `input_ids[i]` where the token is trained, else -100; both of length n."""

    input_ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return len(self.labels) - self.labels.count(IGNORED)


@dataclass(frozen=True)
class Turn:
    """One turn of the assistant as it is generated: `message` is its place among the row's messages."""

    message: int
    prompt: str
    completion: str
    # Trained [start, end) ranges of the completion.
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Conversation:
    """A row's trained turns and the texts that they are trained in.

    Attributes:
        left_out: how many of the row's parts are not trained or not written, by what they are.
    """

    turns: tuple[Turn, ...]
    texts: tuple[Rendered, ...]
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's template in force, and what is known of it.

    Attributes:
        texts: the Jinja text without and with tools.
        special: the tokenizer's special tokens by name.
        ends_twice: it writes EOS at the end of every text, behind the last turn's own end (Phi-3's).
    """

    texts: tuple[str, str]
    special: Mapping[str, Any]
    config: TemplateConfig
    dialect: Dialect
    markers: Markers
    ends_twice: bool

    def render(self, messages: Messages, tools: Tools, *, prompt: bool = False) -> str:
        """The messages as text, with `prompt` up to where the assistant goes on."""
        return render_text(self.texts[tools is not None], messages, tools, self.special, prompt=prompt)


def chat_template(tokenizer: "PreTrainedTokenizerBase", config: TemplateConfig | None = None) -> ChatTemplate:
    """The template that the tokenizer has, in which `config` was written (`effective.apply_settings`); None: no config.

    Raises:
        TrainingDataError: the tokenizer has no chat template.
    """
    config = config or TemplateConfig()
    texts = _template_text(tokenizer, None), _template_text(tokenizer, [{}])
    special = tokenizer.special_tokens_map
    tokens = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    markers = markers_of(texts[0], [*tokens, *tokenizer.all_special_tokens], config.reasoning_markers)
    twice = _ends_twice(texts[0], special, markers)
    return ChatTemplate(texts, special, config, dialect_of(texts[1], special, render_text), markers, twice)


def _ends_twice(template: str, special: Mapping[str, Any], markers: Markers) -> bool:
    try:
        said = [{"role": "user", "content": "probe"}, {"role": "assistant", "content": "probe"}]
        text = render_text(template, said, None, special)
    except TrainingDataError:
        return False
    return _without_eos(text, special.get("eos_token")).endswith(markers.special)


def _template_text(tokenizer: "PreTrainedTokenizerBase", tools: Tools) -> str:
    try:
        return str(tokenizer.get_chat_template(tools=tools))
    except ValueError as e:
        raise TrainingDataError(
            "the tokenizer has no chat template, so conversations can't be rendered",
            where=str(tokenizer.name_or_path),
            hint="take the instruct version of the model, or name a template as template.override",
        ) from e


def render_text(
    template: str, messages: Messages, tools: Tools, special: Mapping[str, Any], *, prompt: bool = False
) -> str:
    """Messages through a Jinja template.

    Raises:
        TrainingDataError: the template refuses them.
    """
    return _render(template, with_aliases(messages), tools, special, prompt=prompt).text


def with_aliases(messages: Messages) -> Messages:
    """The messages with their reasoning under both names that templates read it by (gpt-oss's: thinking)."""
    return [{"thinking": m["reasoning_content"], **m} if "reasoning_content" in m else m for m in messages]


def _render(
    template: str, messages: Messages, tools: Tools, special: Mapping[str, Any], *, prompt: bool = False,
    spans: bool = False,
) -> Rendered:  # fmt: skip
    if tools and any(not isinstance(tool, dict) for tool in tools):
        raise TrainingDataError("the row's tools are no list of objects")
    given = {**special, "documents": None, "add_generation_prompt": prompt}
    try:
        if spans:
            text, ranges = compiled.render_marked(template, messages, tools, given)
            return Rendered(text, tuple(ranges))
        given["messages"], given["tools"] = messages, tools
        return Rendered(compiled.render(template, given), ())
    except compiled.refusals() as e:
        roles = ", ".join(str(m.get("role")) for m in messages)
        raise TrainingDataError(
            f"the chat template refuses a conversation with the roles {roles}: {type(e).__name__}",
            hint="the model's template may forbid system or tool messages, or turns that don't alternate",
        ) from e


@lru_cache(maxsize=64)
def _is_marked(template: str) -> bool:
    """Whether a template marks with `{% generation %}` what is trained."""
    return _MARKERS.search(template) is not None


class _Drawn:
    """One row's messages through the template, each text once."""

    def __init__(self, row: Row, template: ChatTemplate) -> None:
        self.messages, self.tools = with_aliases(chat_messages(row, template)), tools_of(row)
        self.template = template
        self.text = template.texts[self.tools is not None]
        self.marked = _is_marked(self.text)
        self._through: dict[int, Rendered] = {}

    def prompt(self, place: int) -> str:
        """What is rendered before message `place` where the assistant goes on."""
        return _render(self.text, self.messages[:place], self.tools, self.template.special, prompt=True).text

    def through(self, place: int) -> Rendered:
        """Messages up to `place`, that one with them; with the ranges that the template marks."""
        found = self._through.get(place)
        if found is None:
            messages = self.messages[: place + 1]
            found = _render(self.text, messages, self.tools, self.template.special, spans=self.marked)
            self._through[place] = found
        return found


def stored_messages(row: Row) -> list[Row]:
    """A row's messages: of a preference the prompt and the chosen answer."""
    return [*row["messages"], *row["chosen"]]


def chat_messages(row: Row, template: ChatTemplate) -> Messages:
    """A row's messages as the template wants them.

    Tool calls are parsed from JSON, and so are their arguments. Reasoning that the template doesn't write goes into
    think tags where it stood in such or `thinking` is on; `thinking` off leaves it out.
    """
    tag = _tag(row, template)
    return [_chat_message(m, template, tag) for m in stored_messages(row)]


def _tag(row: Row, template: ChatTemplate) -> str | None:
    """The tag that reasoning is written in, None where it has none."""
    if template.dialect.writes_reasoning or template.config.thinking == "off":
        return None
    meant = json.loads(row.get("meta") or "{}").get(THINK_TAG)
    if isinstance(meant, str):
        return meant
    return "think" if template.config.thinking == "on" else None


def _chat_message(stored: Row, template: ChatTemplate, tag: str | None) -> dict[str, Any]:
    found = {k: v for k, v in stored.items() if v is not None and k not in ("tool_calls", "weight", "reasoning")}
    reasoning = stored.get("reasoning") if template.config.thinking != "off" else None
    if reasoning is not None and tag is not None:
        found["content"] = joined(tag, reasoning, found["content"])
    elif reasoning is not None:
        found["reasoning_content"] = reasoning
    dialect = template.dialect
    if dialect.short_ids and stored.get("tool_call_id"):
        found["tool_call_id"] = _short(stored["tool_call_id"])
    if stored.get("tool_calls"):
        found["tool_calls"] = [_tool_call(call, dialect) for call in json.loads(stored["tool_calls"])]
        found["content"] = "" if dialect.text_breaks_calls else found["content"]
    return found


def _tool_call(call: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    if dialect.short_ids and call.get("id"):
        call = {**call, "id": _short(call["id"])}
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    if dialect.arguments_as_text:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return {"type": "function", **call, "function": {**function, "arguments": text}}
    if not isinstance(arguments, str):
        return call
    try:
        parsed = json.loads(arguments)
    except json.JSONDecodeError:  # the model wrote broken arguments; the template gets them as they are
        return call
    return {**call, "function": {**function, "arguments": parsed}}


def _short(identity: str) -> str:
    fits = len(identity) == _ID_LENGTH and identity.isascii() and identity.isalnum()
    return identity if fits else hashlib.sha256(identity.encode()).hexdigest()[:_ID_LENGTH]


def tools_of(row: Row) -> Tools:
    """The row's tools."""
    return json.loads(row["tools"]) if row["tools"] else None


def is_trained(stored: Row) -> bool:
    """Whether a message is a turn of the assistant that says something and isn't context only."""
    return stored["role"] == "assistant" and stored.get("weight") != 0 and says_something(stored)


def says_something(stored: Row) -> bool:
    """Whether there is text or a call in a message."""
    return bool(stored["content"].strip() or stored.get("tool_calls"))


def conversation(row: Row, template: ChatTemplate) -> Conversation:
    """The row's trained turns, and the fewest texts in which each stands as it is generated.

    Raises:
        TrainingDataError: the template refuses the row, or a turn doesn't follow on its own prompt.
    """
    drawn = _Drawn(row, template)
    left_out: Counter[str] = Counter()
    turns = []
    for place, stored in enumerate(stored_messages(row)):
        if is_trained(stored):
            turn = _turn(place, stored, drawn)
            if turn is None:
                left_out["opening turn"] += 1
            else:
                turns.append(turn)
        elif stored["role"] == "assistant" and not says_something(stored):
            left_out["blank turn"] += 1
    return Conversation(tuple(turns), _texts(turns, _whole(drawn)) if turns else (), left_out)


def _whole(drawn: _Drawn) -> str:
    """The conversation as one text; "" where what stands behind the turns is refused."""
    try:
        return drawn.through(len(drawn.messages) - 1).text
    except TrainingDataError:
        return ""


def _turn(place: int, stored: Row, drawn: _Drawn) -> Turn | None:
    """One turn as it is generated; None: there is no prompt for a turn that opens the conversation."""
    template = drawn.template
    opens = all(m["role"] == "system" for m in drawn.messages[:place])
    try:
        prompt = drawn.prompt(place)
    except TrainingDataError:
        if not opens:
            raise
        return None
    # Before a system message's place behind it, the turn has nothing to go by.
    if opens and (not prompt or (place and template.config.system == "merge_into_user")):
        return None
    through = drawn.through(place)
    completion = _completion(prompt, through.text, stored, template)
    if completion is None and not opens:
        completion = _behind_header(prompt, through.text, place, drawn)
    if completion is None:
        if opens:
            return None
        raise PromptDiffersError(place)
    end = len(_without_tail(completion, template).rstrip())
    if not drawn.marked or not through.text.startswith(prompt):
        return Turn(place, prompt, completion, ((0, end),) if end else ())
    at = len(prompt)
    spans = ((max(a - at, 0), min(b - at, end)) for a, b in through.spans)
    return Turn(place, prompt, completion, tuple((a, b) for a, b in spans if b > a))


class PromptDiffersError(TrainingDataError):
    """A turn that the template writes so that it can't follow on the prompt of its own generation."""

    def __init__(self, place: int) -> None:
        super().__init__(
            f"message {place}: the template's prompt for it is not how the template writes it in a conversation",
            hint="set template.thinking, or name a template as template.override whose prompts are the beginnings of"
            " its conversations",
        )


def _completion(prompt: str, through: str, stored: Row, template: ChatTemplate) -> str | None:
    """What follows on the prompt; None where the turn isn't written so that it could.

    A prompt may end in a think block, opened or closed, that the template doesn't write in conversations: then the
    turn follows on that, after its reasoning.
    """
    if through.startswith(prompt):
        return through[len(prompt) :]
    for opens, closes in template.markers.tags:
        ends = re.search(rf"{re.escape(opens)}\s*({re.escape(closes)}\s*)?$", prompt)
        if ends is None or not through.startswith(prompt[: ends.start()]):
            continue
        rest = through[ends.start() :].lstrip("\n")
        if ends[1]:
            return rest
        head, closed, final = rest.partition(closes)
        rest = final.lstrip("\n") if closed and opens in head else rest
        reasoning = (stored.get("reasoning") or "").strip("\n")
        return f"{reasoning}\n{closes}\n\n{rest}"
    return None


def _behind_header(prompt: str, through: str, place: int, drawn: _Drawn) -> str | None:
    """What stands behind the turn's header where the template changes earlier messages once the turn is there.

    gpt-oss drops the reasoning before a call as soon as a final answer follows, Mistral's templates move the system
    message. The lint sees to it that the turn is there whole.
    """
    without = drawn.through(place - 1).text
    header = prompt.removeprefix(without) if prompt.startswith(without) else ""
    if not header.strip():  # no text of its own begins a turn: it follows on the token that ends the prompt
        header = next((t for t in drawn.template.markers.special if prompt.endswith(t)), "")
    at = through.rfind(header) if header else -1
    return None if at < 0 else through[at + len(header) :]


def _without_tail(completion: str, template: ChatTemplate) -> str:
    """Without the EOS token that a template writes behind the turn's own end. A call's own end is none of a turn."""
    shorter = _without_eos(completion, template.special.get("eos_token")) if template.ends_twice else ""
    return shorter if shorter.endswith(template.markers.special) else completion


def _without_eos(text: str, eos: str | None) -> str:
    """A text without the EOS token at its end; "" where there is none."""
    return text.rstrip().removesuffix(eos).rstrip() if eos and text.rstrip().endswith(eos) else ""


def _texts(turns: Sequence[Turn], whole: str) -> tuple[Rendered, ...]:
    """The fewest texts that hold every turn behind its own prompt, in the order of the turns that end them."""
    texts: list[Rendered] = []
    left = list(turns)
    while left:
        last = left[-1]
        text = last.prompt + last.completion
        text = whole if not texts and whole.startswith(last.prompt + last.completion[: _end(last)]) else text
        held = [t for t in left if text.startswith(t.prompt + t.completion[: _end(t)])]
        spans = tuple((len(t.prompt) + a, len(t.prompt) + b) for t in held for a, b in t.spans)
        texts.append(Rendered(text, spans))
        left = [t for t in left if t not in held]
    return tuple(reversed(texts))


def _end(turn: Turn) -> int:
    return turn.spans[-1][1] if turn.spans else len(turn.completion)


def document(tokenizer: "PreTrainedTokenizerBase", row: Row, *, ends: bool = True) -> Rendered:
    """A document's text, trained, behind the BOS token where the tokenizer writes one; with `ends` and EOS."""
    text = (row["text"] or "") + ((tokenizer.eos_token or "") if ends else "")
    return Rendered(text, ((0, len(text)),) if text else (), bos_text(tokenizer))


def bos_text(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The BOS token where the tokenizer puts one before a text, else ""."""
    bos = tokenizer.bos_token_id
    return str(tokenizer.bos_token) if bos is not None and tokenizer("x")["input_ids"][:1] == [bos] else ""


def render(
    tokenizer: "PreTrainedTokenizerBase", row: Row, template: ChatTemplate | None = None
) -> tuple[Rendered, ...]:
    """The texts that a row is trained in: mostly one. A document is its text and the EOS token, all of it trained.

    Raises:
        TrainingDataError: no template, or the template refuses the row.
    """
    if row["kind"] == "document":
        return (document(tokenizer, row),)
    return conversation(row, template or chat_template(tokenizer)).texts


def encode(tokenizer: "PreTrainedTokenizerBase", row: Row, template: ChatTemplate | None = None) -> tuple[Encoded, ...]:
    """The sequences of a row as token ids and labels, not cut to any length. Pass `template` for many rows.

    A token that straddles the start of a turn (the prompt's end merged with the first content characters) is
    trained, as in transformers' own assistant mask.
    """
    return tuple(tokenize(tokenizer, r) for r in render(tokenizer, row, template))


def encode_for_loss(
    tokenizer: "PreTrainedTokenizerBase", row: Row, template: ChatTemplate | None
) -> tuple[Encoded, ...]:
    """The sequences whose trained tokens are scored. Of a document the text alone: how it ends says nothing of it."""
    if row["kind"] == "document":
        return (tokenize(tokenizer, document(tokenizer, row, ends=False)),)
    return encode(tokenizer, row, template)


def tokenize(tokenizer: "PreTrainedTokenizerBase", rendered: Rendered) -> Encoded:
    """Token ids and labels of rendered text; no special token is added but its BOS (templates write their own).

    BOS stands before the tokens of the text alone, as the tokenizer itself puts it there: behind a BOS in the text,
    SentencePiece's tokenizers would leave out the space that begins a text.
    """
    require_places(tokenizer)
    # verbose=False: transformers would warn about rows longer than the model's context; the caller decides on those.
    out = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = out["input_ids"]
    labels = _labels(tokenizer, ids, out["offset_mapping"], rendered.spans)
    begin = [int(tokenizer.convert_tokens_to_ids(rendered.bos))] if rendered.bos else []
    return Encoded([*begin, *ids], [*(IGNORED for _ in begin), *labels])


def _labels(
    tokenizer: "PreTrainedTokenizerBase", ids: list[int], offsets: list[Span], spans: tuple[Span, ...]
) -> list[int]:
    """Labels of the tokens that overlap a span; offsets ascend, so both ends are found by bisection.

    A special token that swallows the blanks with which a span begins (Phi-3's do) belongs to the prompt all the same.
    """
    if any(b[0] < a[1] for a, b in pairwise(spans)):
        raise TrainingDataError("the chat template's {% generation %} blocks overlap", hint="nest no such blocks")
    labels = [IGNORED] * len(ids)
    for start, end in spans:
        first = bisect_right(offsets, start, key=lambda o: o[1])
        stop = bisect_left(offsets, end, key=lambda o: o[0])
        if first < stop and offsets[first][0] < start and ids[first] in tokenizer.added_tokens_decoder:
            first += 1
        labels[first:stop] = ids[first:stop]
    return labels


def asked_turn(row: Row) -> int:
    """Which of a row's messages is to be said: the last trained turn of the assistant.

    Raises:
        TrainingDataError: it has none.
    """
    stored = stored_messages(row)
    turns = [i for i, m in enumerate(stored) if m["role"] == "assistant"]
    last = next((i for i in reversed(turns) if is_trained(stored[i])), turns[-1] if turns else None)
    if last is None:
        raise TrainingDataError(
            f"a {row['kind']} without an assistant turn has no prompt and reference",
            where=f"row {row['record_id']}",
            hint="evaluate such rows by perplexity, or leave them out of the split",
        )
    return last


def prompt_and_reference(row: Row, template: ChatTemplate) -> tuple[str, str, str]:
    """The prompt up to the last trained turn of the assistant, the final text of that turn, and all that is written
    for it ("" where that is the final text).

    Reasoning is no part of the final text. A turn that calls tools is as the template renders it, without special
    tokens.

    Raises:
        TrainingDataError: the row is a document or has no assistant turn, or the template refuses it.
    """
    stored, last = stored_messages(row), asked_turn(row)
    drawn = _Drawn(row, template)
    calls, markers = stored[last].get("tool_calls"), template.markers
    thinks = template.dialect.writes_reasoning or markers.channels or stored[last].get("reasoning")
    if not (calls or thinks):
        return drawn.prompt(last), str(stored[last]["content"]), ""
    turn = _turn(last, stored[last], drawn)
    if turn is None:
        raise PromptDiffersError(last)
    written = turn.completion[: _end(turn)]
    final = markers.split(turn.prompt, written).text if calls else str(stored[last]["content"])
    return turn.prompt, final, written
