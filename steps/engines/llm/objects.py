"""Questions to a model whose reply is one JSON object of a known form, and what is read of the reply."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from steps.contracts.digests import canonical_json, value_digest
from steps.engines.llm.caller import Failure
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.reply_json import is_unicode, json_objects
from steps.engines.llm.session import Question

Schema: TypeAlias = Mapping[str, Any]


def form(**properties: Any) -> dict[str, Any]:
    """JSON schema of an object with exactly these properties, each of them given."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def to_ask(orders: str, text: str, schema: Schema, endpoint: Endpoint) -> Question:
    """The question whose orders are the system's turn and whose text is the user's."""
    messages = [{"role": "system", "content": orders}, {"role": "user", "content": text}]
    key = value_digest([messages, dict(schema), endpoint.model, endpoint.decoding()])
    return Question(key, messages, dict(schema), "reply")


def to_answer(messages: Sequence[Mapping[str, str]], endpoint: Endpoint, sample: int = 0) -> Question:
    """The question whose reply is any text: the turns as they are. `sample`: which of several replies to it."""
    turns = [{"role": m["role"], "content": m["content"]} for m in messages]
    more = [sample] if sample else []
    return Question(value_digest([turns, endpoint.model, endpoint.decoding(), *more]), turns, {}, "answer")


def object_in(reply: Reply | Failure, schema: Schema) -> dict[str, Any] | str:
    """The one object of that form in a reply, or the reason code why there is none: the failure's, refusal,
    empty_reply, truncated, ambiguous_reply, not_json, wrong_form, bad_unicode.
    """
    if isinstance(reply, Failure):
        return reply.reason
    if reply.refused:
        return "refusal"
    check = _validator(canonical_json(dict(schema)))
    found = json_objects(reply.text, lambda _: True)
    fitting = [o for o in found.objects if check.is_valid(o)]
    if found.unread in ("twice", "many") or len(fitting) > 1:
        return "ambiguous_reply"
    if reply.finish_reason == "length":
        return "truncated"
    if found.unread or not fitting:
        return _why_none(reply.text, found.objects)
    return fitting[0] if is_unicode(fitting[0]) else "bad_unicode"


def _why_none(text: str, objects: Sequence[Any]) -> str:
    if objects:
        return "wrong_form"
    return "not_json" if text.strip() else "empty_reply"


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))
