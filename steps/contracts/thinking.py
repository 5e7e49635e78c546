"""Think tags: `<think>reasoning</think>answer` as reasoning and answer, and back.

Tags are a way to write reasoning down. In a field of its own it is judged, compared and shown apart from the answer,
and a chat template that knows reasoning writes it in the form that it was made for. The row's meta says which tag it
was, so that other templates and formats get the tags back.
"""

import re

from steps.contracts.records import Row

_TAGS = ("think", "thinking")
# The meta of a row whose reasoning stood in tags: their name.
THINK_TAG = "think_tag"
_HEAD = re.compile(rf"\s*<({'|'.join(_TAGS)})>(.*?)</\1>(.*)", re.DOTALL)


def split(text: str) -> tuple[str, str, str] | None:
    """(tag, reasoning, answer) without blanks around them; None when either is blank or no tags stand at the head."""
    found = _HEAD.match(text)
    if found is None:
        return None
    tag, reasoning, answer = found[1], found[2].strip(), found[3].strip()
    return (tag, reasoning, answer) if reasoning and answer else None


def joined(tag: str, reasoning: str, content: str) -> str:
    """Reasoning in tags before the answer, spaced as Qwen and DeepSeek space it."""
    return f"<{tag}>\n{reasoning}\n</{tag}>\n\n{content}"


def with_tags(messages: list[Row], tag: str) -> list[Row]:
    """The messages with their reasoning written into their content."""
    return [m if m.get("reasoning") is None else _tagged(m, tag) for m in messages]


def _tagged(m: Row, tag: str) -> Row:
    return {**m, "content": joined(tag, m["reasoning"], m["content"]), "reasoning": None}
