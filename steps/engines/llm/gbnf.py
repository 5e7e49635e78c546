"""JSON schemas as grammars in GBNF, which llama.cpp's server takes in the field `grammar`."""

import json
from collections.abc import Mapping
from typing import Any

from steps.contracts.errors import ConfigError

# A string holds no control characters; what is short ends soon.
_STRING = (
    r'"\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F]) )* "\""'
)
_RULES = {
    "string": _STRING,
    "integer": '"-"? [0-9] [0-9]{0,15}',
    "number": '"-"? [0-9] [0-9]{0,15} ( "." [0-9]{1,15} )?',
    "boolean": '"true" | "false"',
    "null": '"null"',
}
_SPACE = '" "?'


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The grammar of a schema of objects with all their properties in order, arrays, enums and plain values.

    Raises:
        ConfigError: the schema has something else.
    """
    rules: dict[str, str] = {}
    rules["root"] = _expression(schema, "root", rules)
    return "\n".join(f"{name} ::= {expression}" for name, expression in rules.items()) + "\n"


def _expression(schema: Mapping[str, Any], name: str, rules: dict[str, str]) -> str:
    if "enum" in schema:
        return " | ".join(_literal(json.dumps(value, ensure_ascii=False)) for value in schema["enum"])
    kind = schema.get("type")
    if kind == "object" and schema.get("properties"):
        parts = []
        for number, (key, inner) in enumerate(schema["properties"].items()):
            rule = _rule(inner, f"{name}-{number}", rules)
            parts.append(f"{_literal(json.dumps(key, ensure_ascii=False) + ':')} {_SPACE} {rule}")
        inside = f' "," {_SPACE} '.join(parts)
        return f'"{{" {_SPACE} {inside} {_SPACE} "}}"'
    if kind == "array" and "items" in schema:
        item = _rule(schema["items"], f"{name}-item", rules)
        return f'"[" {_SPACE} ( {item} ( "," {_SPACE} {item} )* )? {_SPACE} "]"'
    if kind in _RULES:
        return _rule(schema, name, rules)
    raise ConfigError(
        f"no grammar is made of a schema of type {kind!r}", where="endpoint.response_format",
        hint="use response_format: json_schema, json_object or text",
    )  # fmt: skip


def _rule(schema: Mapping[str, Any], name: str, rules: dict[str, str]) -> str:
    kind = schema.get("type")
    if "enum" not in schema and kind in _RULES:
        rules[str(kind)] = _RULES[str(kind)]
        return str(kind)
    rules[name] = f"( {_expression(schema, name, rules)} )"
    return name


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
