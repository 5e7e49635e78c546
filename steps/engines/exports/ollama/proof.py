"""The proof that a template of Ollama's says what the chat template says: conversations of every kind, rendered by
Jinja and by Go.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pydantic import Field

from steps.contracts.errors import IntegrityError, TrainingDataError
from steps.contracts.reports import Frozen
from steps.engines.exports.ollama.go_template import go_template, literal
from steps.engines.exports.ollama.golang import NO_GO, Asked, Said, has_go, rendered_by_go
from steps.engines.exports.ollama.shape import Renders, shape_of
from steps.engines.template.effective import SWITCHES
from steps.engines.template.render import Tools, render_text

_AROUND = 24
_S, _U, _A = ("system", "user", "assistant")
_HARD = (
    'He said "no", \'yes\' <b>&</b> \\n {{ x }} {% y %} {# z #} """',
    "Cafe\u0301 🙂 в Осло? 雨と 7 °C \u200b\u00a0\u00ad",
    "def f(x):\n\treturn x**2\r\n\n\n",
    " \n\t\u00a0\u3000 both ends \u2003\u2028\x1c \n",
    "\u200bno white space\ufeff",
    "  ",
)
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Its name."}},
            "required": ["city"],
        },
    },
}
# Stands for that definition until it is known how a template writes it.
_OFFERED = "get_weather"


@dataclass(frozen=True)
class Conversation:
    """Messages of one kind; `think`: what the request says of thinking."""

    kind: str
    messages: tuple[Mapping[str, Any], ...]
    think: bool | None = None


class TemplateProof(Frozen):
    """What the comparison found.

    Attributes:
        template: that may be written, None where it was not proven.
        reason: why not, with the first differing character.
        kinds: of conversations, with how many were the same text.
        refused: conversations that both refuse.
        tools: why tools have no place in it; None where the chat template knows none.
    """

    template: str | None
    reason: str | None = None
    kinds: dict[str, int] = Field(default_factory=dict)
    refused: int = 0
    tools: str | None = None


def conversations() -> list[Conversation]:
    """Of every kind that Ollama's API can ask without tools."""
    kinds: Mapping[str, Sequence[str]] = {
        "a question": ("u",), "several turns": ("uau", "uauau", "uauauau"), "a system message": ("su",),
        "a system message, several turns": ("suau", "suauau"), "a system message between": ("uasu", "usu", "suasu"),
        "an answer first": ("au", "sau"), "an answer begun": ("ua", "sua", "suaua"), "a system message alone": ("s",),
    }  # fmt: skip
    names = {"s": _S, "u": _U, "a": _A}
    found = [
        Conversation(kind, tuple({"role": names[c], "content": f"{names[c]} says {i}"} for i, c in enumerate(order)))
        for kind, orders in kinds.items()
        for order in orders
    ]
    for text in (*_HARD, ""):
        kind = "an empty message" if not text.strip() else "odd characters, white space at both ends"
        for place in range(4):
            said = [{"role": names[c], "content": f"{names[c]} says {i}"} for i, c in enumerate("suau")]
            said[place]["content"] = text
            found.append(Conversation(kind, tuple(said)))
            if place:
                found.append(Conversation(kind, tuple(said[1:])))
    thought = {"role": _A, "content": "An answer.", "reasoning_content": "A thought."}
    for before in ((), ({"role": _S, "content": "Be brief."},)):
        asked = ({"role": _U, "content": "A question?"}, thought, {"role": _U, "content": "Another?"})
        found.append(Conversation("an answer with reasoning", (*before, *asked)))
        found.append(Conversation("an answer with reasoning", (*before, *asked, thought, asked[0])))
        for think in (True, False):
            found.append(Conversation(f"thinking {'on' if think else 'off'}", (*before, asked[0]), think))
            found.append(Conversation(f"thinking {'on' if think else 'off'}", (*before, *asked), think))
    return found


def renders_of(template: str, special: Mapping[str, Any], tools: Tools = None) -> Renders:
    """A chat template as a function: a request's word on thinking sets the switches that templates have for it."""

    def renders(messages: Sequence[Mapping[str, Any]], think: bool | None) -> str:
        switches = "" if think is None else "".join(f"{{%- set {s} = {str(think).lower()} -%}}" for s in SWITCHES)
        return render_text(switches + template, [dict(m) for m in messages], tools, special, prompt=True)

    return renders


def proven_template(
    template: str, special: Mapping[str, Any], *, adds_bos: bool, tool_template: str | None = None
) -> TemplateProof:
    """A template for Ollama, made of what the chat template is seen to write, and held against it by Go.

    Args:
        template: the chat template; tool_template: that for conversations with tools, where it is another.
        special: the tokenizer's special tokens by name.
        adds_bos: llama.cpp puts BOS before every prompt, so that the template must not.
    """
    if not has_go():
        return TemplateProof(template=None, reason=NO_GO)
    try:
        return _proven(template, special, adds_bos, tool_template or template)
    except IntegrityError as e:
        return TemplateProof(template=None, reason=e.what)


def _proven(template: str, special: Mapping[str, Any], adds_bos: bool, tool_template: str) -> TemplateProof:
    bos = str(special.get("bos_token") or "") if adds_bos else ""
    renders = _without(renders_of(template, special), bos)
    made = go_template(shape_of(renders, template))
    asked = conversations()
    said = rendered_by_go([Asked(made, c.messages, think=c.think) for c in asked])
    kinds: dict[str, int] = {}
    refused = 0
    for one, found in zip(asked, said, strict=True):
        try:
            expected = renders(one.messages, one.think)
        except TrainingDataError:
            expected = None
        if reason := _difference(one, expected, found):
            return TemplateProof(template=None, reason=reason, kinds=kinds, refused=refused)
        if expected is None:
            refused += 1
        else:
            kinds[one.kind] = kinds.get(one.kind, 0) + 1
    if not kinds:
        return TemplateProof(template=None, reason="the chat template refuses every conversation")
    tools = _tools(tool_template, special, bos)
    return TemplateProof(template=made, kinds=kinds, refused=refused, tools=tools)


def _without(renders: Renders, bos: str) -> Renders:
    """What the template has to write where llama.cpp puts BOS before it."""

    def rest(messages: Sequence[Mapping[str, Any]], think: bool | None) -> str:
        text = renders(messages, think)
        if not text.startswith(bos):
            raise IntegrityError("llama.cpp puts BOS before every prompt, which the chat template doesn't write")
        return text.removeprefix(bos)

    return rest


def _difference(one: Conversation, expected: str | None, found: Said) -> str | None:
    """Where a rendering isn't the chat template's, in words."""
    if expected is None:
        return f"{one.kind}: the chat template refuses it, Ollama wouldn't" if found.error is None else None
    if found.error is not None:
        return f"{one.kind}: Go can't render it: {found.error[:120]}"
    return f"{one.kind}: {apart(expected, found.text)}" if found.text != expected else None


def apart(expected: str, found: str) -> str:
    """Where two texts begin to differ, in words."""
    at = next(i for i, (a, b) in enumerate(zip_longest(expected, found)) if a != b)
    begun = expected[max(0, at - _AROUND) : at]
    told = f"behind {begun!r} " if begun else ""
    return f"character {at + 1} is another one: {told}the chat template says {_cut(expected, at)}, Go {_cut(found, at)}"


def _cut(text: str, at: int) -> str:
    return repr(text[at : at + _AROUND]) if at < len(text) else "nothing more"


def _tools(template: str, special: Mapping[str, Any], bos: str) -> str | None:
    """Why definitions of tools have no place in the template, tried by Go; None: the chat template writes none."""
    asked = [{"role": _U, "content": "How warm is it?"}]
    try:
        plain = _without(renders_of(template, special), bos)(asked, None)
        offered = _without(renders_of(template, special, [_TOOL]), bos)(asked, None)
    except TrainingDataError as e:
        return f"the chat template refuses them ({e.what})"
    if plain == offered or _OFFERED not in offered:
        return None
    for indent in (None, 4):
        written = json.dumps(_TOOL, ensure_ascii=False, indent=indent)
        if written in offered:
            before, _, after = offered.partition(written)
            tried = f"{literal(before)}{{{{ range .Tools }}}}{{{{ . }}}}{{{{ end }}}}{literal(after)}"
            (found,) = rendered_by_go([Asked(tried, asked, [_TOOL])])
            if found.error is not None:
                return found.error
            return f"a definition: {apart(offered, found.text)}" if found.text != offered else "they weren't tried"
    return "the chat template writes definitions of tools in words of its own, not as JSON"
