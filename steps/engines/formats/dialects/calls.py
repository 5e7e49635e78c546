"""Tool calls and tool definitions of every dialect, in OpenAI's form.

Arrow gives an object the keys of all rows, so that a key that is null may never have been said. In objects such keys
are left out, at any depth; JSON text keeps its nulls, and so do lists (`enum: [null]`). A null argument stays where the
row's own tools say that the parameter is required and may be null.
"""

import ast
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.dialects.described import fields, type_of
from steps.engines.formats.dialects.parsing import json_text, loaded, parsed
from steps.engines.formats.rejected import RowRejected

_NAMES = ("name", "tool_name", "toolName", "function_name", "function")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_IDS = ("id", "tool_call_id", "toolCallId", "call_id")
# Chosen: a call written as text is a line or two; what is longer isn't looked at.
_LONGEST_CALL = 10_000
_CONSTANTS = {"true": True, "false": False, "null": None}


def without_nulls(value: Any) -> Any:
    """The value without the keys of objects that are null; items of lists stay."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value


class Calls:
    """Ids of the tool calls of one conversation; a call without an id is named call_<n>, n from 1.

    `tools` is the row's list of tools as JSON text: it names the parameters of calls that are written without names.
    `as_text`: the conversation was JSON text, so that all its nulls were said.
    """

    def __init__(self, tools: str | None = None, *, as_text: bool = False) -> None:
        self.count = 0
        self.open: list[str] = []
        self._tools, self._as_text = tools, as_text

    def stored(self, calls: Any) -> str:
        """JSON text of OpenAI's list of tool calls: arguments as JSON text, ids filled in."""
        said = _as_it_is if self._as_text or isinstance(calls, str) else self._said
        if isinstance(calls, str) and (found := self.written(calls)) is not None:
            calls = found
        calls = parsed(calls, "tool_calls")
        return json_text([self._one(c, said) for c in (calls if isinstance(calls, list) else [calls])])

    def written(self, text: str) -> list[Row] | None:
        """The calls that text such as `search(city="Paris")`, or a list of them, makes; None when it makes none.

        Values without a name get those of the tool's parameters; where the row has no such tool there is no call.
        """
        found = _called(text)
        if found is None:
            return None
        calls = []
        for name, values, named in found:
            names = list(self._schema(name).get("properties") or ())[: len(values)]
            if len(names) < len(values) or named.keys() & set(names):
                return None
            calls.append({"name": name, "arguments": {**dict(zip(names, values, strict=True)), **named}})
        try:
            json.dumps(calls, allow_nan=False)
        except (ValueError, TypeError):
            return None
        return calls

    def _one(self, call: Any, said: Callable[[str, Row], Row]) -> Row:
        if isinstance(call, str):
            call = (self.written(call) or [parsed(call, "tool_calls")])[0]
        inner = call.get("function") if isinstance(call, dict) else None
        body = inner if isinstance(inner, dict) else call
        name = next((v for k in _NAMES if isinstance(v := body.get(k), str)), None) if isinstance(body, dict) else None
        if name is None:
            has = f"has {fields(body)}" if isinstance(body, dict) else f"is {type_of(body)}"
            raise RowRejected("bad_tool_call", f'a tool call must be {{"name": ..., "arguments": ...}}, but {has}')
        self.count += 1
        given = (v for k in _IDS if isinstance(v := call.get(k), str))
        call_id = next(given, f"call_{self.count}")
        self.open.append(call_id)
        arguments = next((body[k] for k in _ARGUMENTS if body.get(k) is not None), None)
        arguments = self._arguments(name, said(name, arguments) if isinstance(arguments, dict) else arguments)
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def answer(self, *given: Any) -> str | None:
        """The id that a tool message answers: the given one (None stays None), or the first open call's."""
        if given:
            call_id = given[0] if isinstance(given[0], str) else None
            if call_id in self.open:
                self.open.remove(call_id)
            return call_id
        return self.open.pop(0) if self.open else None

    def _arguments(self, name: str, value: Any) -> str:
        """JSON text of an object. Text that holds one is kept as it is."""
        if value is None or value == "":
            return "{}"
        if isinstance(value, dict):
            return json.dumps(value, ensure_ascii=False)
        text, value = (value, loaded(value)) if isinstance(value, str) else ("", value)
        if isinstance(value, dict):
            return text if _is_json(text) else json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            names = list(self._schema(name).get("properties") or ())[: len(value)]
            if len(names) == len(value):
                return json.dumps(dict(zip(names, value, strict=True)), ensure_ascii=False)
        raise RowRejected(
            "bad_tool_arguments",
            f"a tool call's arguments must be a JSON object, or its text, but are {type_of(value)}; a list needs"
            " `tools`, which name the parameters",
        )

    def _said(self, name: str, arguments: Row) -> Row:
        """Without the keys that are null, unless the tool wants them."""
        if None not in arguments.values():
            return {k: without_nulls(v) for k, v in arguments.items()}
        schema = self._schema(name)
        required, properties = schema.get("required") or (), schema.get("properties") or {}
        return {
            k: without_nulls(v)
            for k, v in arguments.items()
            if v is not None or (k in required and _may_be_null(properties.get(k)))
        }

    def _schema(self, name: str) -> Row:
        """The JSON schema of a tool's parameters; {} where the row doesn't define the tool."""
        for tool in json.loads(self._tools) if self._tools else ():
            body = tool.get("function") if isinstance(tool.get("function"), dict) else tool
            if body.get("name") == name:
                schema = parsed(body.get("parameters") or body.get("input_schema") or {}, "tools")
                if isinstance(schema, dict) and isinstance(schema.get("properties") or {}, dict):
                    return schema
        return {}


def _as_it_is(_: str, arguments: Row) -> Row:
    return arguments


def tools_text(row: Row) -> str | None:
    """JSON text of OpenAI's tools list from `tools` (list or JSON text) or the older `functions`; None for none."""
    if "tools" not in row and "functions" not in row:
        return None
    tools = _definitions(row.get("tools"), "tools")
    if tools is None and row.get("functions"):
        listed = _definitions(row["functions"], "functions")
        tools = [{"type": "function", "function": f} for f in listed] if isinstance(listed, list) else listed
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list) or not all(isinstance(t, dict) for t in tools):
        raise RowRejected("bad_tools", "tools must be a list of tool definitions, or its JSON text")
    return json_text(tools)


def _definitions(value: Any, column: str) -> Any:
    """What the column says; JSON text as it is, other lists without the nulls of Arrow's objects."""
    if not value or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        return parsed(value, column)
    if isinstance(value, list):
        return [parsed(t, column) if isinstance(t, str) else without_nulls(t) for t in value]
    return value


def _may_be_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    kind = schema.get("type")
    says = kind == "null" or (isinstance(kind, list) and "null" in kind) or schema.get("nullable") is True
    either = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
    return says or None in (schema.get("enum") or ()) or any(_may_be_null(s) for s in either)


def _is_json(text: str) -> bool:
    """Whether it is a JSON object to other programs too: without NaN and Infinity, which only Python reads."""
    try:
        return isinstance(json.loads(text, parse_constant=_no_json), dict)
    except (ValueError, RecursionError):
        return False


def _no_json(word: str) -> None:
    raise ValueError(word)


def _called(text: str) -> list[tuple[str, list[Any], Row]] | None:
    """(name, values without a name, values by name) of every call; None when the text isn't calls and nothing else."""
    text = text.strip()
    if not text.endswith((")", ")]")) or len(text) > _LONGEST_CALL:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List) else [tree]
        return [_call(node) for node in nodes]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _call(node: ast.expr) -> tuple[str, list[Any], Row]:
    if not isinstance(node, ast.Call):
        raise ValueError("not a call")
    name = ".".join(_dotted(node.func))
    named = {k.arg: _literal(k.value) for k in node.keywords if k.arg is not None}
    if len(named) < len(node.keywords):
        raise ValueError("**values")
    return name, [_literal(a) for a in node.args], named


def _dotted(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        yield from _dotted(node.value)
        yield node.attr
    elif isinstance(node, ast.Name):
        yield node.id
    else:
        raise ValueError("not a name")


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    return ast.literal_eval(node)
