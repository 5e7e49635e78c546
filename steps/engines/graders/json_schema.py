"""Whether a JSON value is valid under a schema. References out of the schema are never fetched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.engines.graders.values import NOTHING


def read_schema(path: Path) -> Any:
    """A schema from its file.

    Raises:
        InputNotFoundError: no such file. ConfigError: it holds no JSON schema.
    """
    if not path.is_file():
        raise InputNotFoundError(
            "no such JSON schema file", where=str(path), hint="json_schema is relative to the root"
        )
    try:
        schema = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise ConfigError(f"not a JSON schema: {str(e).splitlines()[0]}", where=str(path)) from e
    if why := schema_fault(schema):
        raise ConfigError(f"not a JSON schema: {why}", where=str(path))
    return schema


def schema_fault(schema: Any) -> str:
    """Why a value is no JSON schema; "": it is one."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except (ValueError, AttributeError, TypeError, SchemaError) as e:
        return str(e).splitlines()[0]
    return ""


def validator(schema: Any) -> Callable[[Any], bool]:
    """Validity under the schema; without one, whether the value is an object. References are never fetched."""
    if schema is None:
        return lambda value: isinstance(value, dict)
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    check = validator_for(schema)(schema, registry=Registry())

    def valid(value: Any) -> bool:
        try:
            return value is not NOTHING and check.is_valid(value)
        except Unresolvable as e:
            hint = "put the definitions into the schema itself ($defs): references are never fetched"
            raise ConfigError(
                f"the JSON schema refers to something outside: {e}", where="json_schema", hint=hint
            ) from e

    return valid
