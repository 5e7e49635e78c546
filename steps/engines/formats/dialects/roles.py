"""Roles by the names that data sets use for them."""

import re
from collections.abc import Mapping
from typing import Any

from steps.contracts.records import ROLES, Row
from steps.engines.formats.rejected import RowRejected

# An assistant's turn whose content is its tool calls.
CALL = "call"
ROLE_KEYS = ("role", "from", "speaker", "author", "sender", "type")
_NAMED = frozenset(ROLE_KEYS)
ROLES_OF_MANY = _NAMED - {"type", "author"}
# OpenAI, Anthropic, Gemini, ShareGPT, LLaMA-Factory, ms-swift, LangChain, OASST and Llama's ipython.
_NAMES = {
    "system": ("system", "developer", "system_prompt", "system_message", "sys"),
    "user": (
        "user", "human", "prompter", "input", "user_input", "human_input", "instruction", "question", "query", "prompt",
        "customer", "client",
    ),
    "assistant": (
        "assistant", "gpt", "chatgpt", "bing", "bard", "ai", "bot", "chatbot", "claude", "gemini", "llama", "model",
        "llm", "output", "response", "answer", "completion", "ai_assistant", "assistant_response", "agent",
    ),
    CALL: ("function_call", "tool_call", "tool_calls", "function_calls", "tool_use"),
    "tool": (
        "tool", "function", "observation", "ipython", "function_response", "function_result", "function_output",
        "tool_response", "tool_responses", "tool_result", "tool_results", "tool_output", "function_call_output",
        "environment",
    ),
}  # fmt: skip
ROLE_OF = {name: role for role, names in _NAMES.items() for name in names}
# gpt-4o, claude-3-opus, llama_2_chat ...
_MODEL = re.compile(r"(?:chat)?(?:gpt|claude|gemini|llama|qwen|mistral|deepseek)[-_. ]?\d[\w.-]*", re.ASCII)
# One word; what speakers and authors are called may be a person's name, and isn't shown at all.
_PLAIN_ROLE = re.compile(r"[^\W\d][\w-]{0,23}")


def role_of(name: Any, roles: Mapping[str, str] | None = None, key: str = "role") -> str:
    """One of ROLES, or CALL. Case, blanks around the name and `-` for `_` make no difference; `roles` come first.

    `key` is where the name stands.
    """
    if isinstance(name, Mapping):  # {"author": {"role": ...}}
        name = name.get("role")
    if isinstance(name, str):
        plain = name.strip().rstrip(":").lower()
        if roles and plain in roles:
            return roles[plain]
        known = ROLE_OF.get(plain) or ROLE_OF.get(re.sub(r"[\s-]+", "_", plain))
        if known or _MODEL.fullmatch(plain):
            return known or "assistant"
    says = isinstance(name, str) and key in ("role", "from") and _PLAIN_ROLE.fullmatch(name)
    shown = f" {name!r}" if says else ""
    hint = f"role{shown} is none of {', '.join(ROLES)} or their known aliases; name it in the source's `roles`"
    raise RowRejected("unknown_role", hint)


def by_speakers(turn: Any) -> list[Row] | None:
    """The messages of an object that holds each text under who says it, such as {"human": ..., "assistant": ...}, or of
    a pair of role and text; None for anything else.
    """
    if isinstance(turn, dict):
        if not _NAMED.isdisjoint(turn):
            return None
        said = [(ROLE_OF.get(k.strip().lower()), v) for k, v in turn.items() if v is not None and v != ""]
    elif isinstance(turn, list) and len(turn) == 2 and isinstance(turn[0], str):
        said = [(ROLE_OF.get(turn[0].strip().lower()), turn[1])]
    else:
        return None
    roles = [role for role, _ in said]
    known = all(role in ROLES and isinstance(text, str) for role, text in said)
    whole = isinstance(turn, list) or {"user", "assistant"} <= set(roles) or roles == ["system"]
    return [{"role": r, "content": t} for r, t in said] if known and whole and len(set(roles)) == len(roles) else None


def has_role(message: Row, roles: Mapping[str, str] | None = None) -> bool:
    """Whether an object says who speaks, so that it is a message. `type` says so only beside `content`."""
    for name, value in message.items():
        key = name if name in ROLE_KEYS else name.strip().lower()
        if key in ROLE_KEYS and (key != "type" or "content" in message or isinstance(message.get("data"), dict)):
            try:
                role_of(value, roles)
            except RowRejected:
                continue
            return True
    return False
