"""The JSON object in a model's reply, whatever it wrote around it."""

import json
import re
from collections.abc import Callable
from typing import Any

_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
# Replies are capped by max_tokens; this bounds the work on a hostile one.
_MAX_OBJECTS = 64


def json_objects(text: str, accept: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The accepted top-level JSON objects in a text, in order, equal ones once.

    Thinking blocks, an unfinished one included, are left out, and so are objects within objects.
    """
    text = _THINKING.sub("", text)
    decoder = json.JSONDecoder()
    found: list[dict[str, Any]] = []
    at = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if at < 0:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, dict) and accept(value) and value not in found:
                found.append(value)
        at = text.find("{", end)
    return found
