"""Holds requests against the models that Microsoft's library has of AzureML's API: run by an interpreter that has
azure-ai-ml.

A line of JSON on stdin is a model's name and a request's body; a line on stdout is what is wrong with it, or empty.
"""

import json
import sys
import typing
from collections.abc import Iterator
from typing import Any


def wrong(model: Any, body: Any, place: str) -> Iterator[str]:
    """What the models don't know, only tell, need, or have otherwise. The library itself takes all of it."""
    fields = {f._rest_name: (name, f) for name, f in type(model)._attr_to_rest_field.items()}
    for key, value in body.items():
        if key not in fields:
            yield f"{place}{key} is no field of {type(model).__name__}"
            continue
        name, field = fields[key]
        if field._visibility == ["read"]:
            yield f"{place}{key} is only told, never taken"
        yield from _of_value(getattr(model, name), value, f"{place}{key}.")
        yield from _of_type(type(model), name, value, f"{place}{key}")
    for key, (name, _) in fields.items():
        if key not in body and "Required" in _said(type(model), name):
            yield f"{place}{key} is required"


def _of_value(model: Any, value: Any, place: str) -> Iterator[str]:
    if hasattr(model, "_attr_to_rest_field") and isinstance(value, dict):
        yield from wrong(model, value, place)


def _of_type(model: type, name: str, value: Any, place: str) -> Iterator[str]:
    """Plain values, of plain types."""
    plain: set[type] = set()
    for owner in model.__mro__:
        annotation = vars(owner).get("__annotations__", {}).get(name)
        if annotation is not None:
            plain = {t for t in (annotation, *typing.get_args(annotation)) if t in (str, bool, int, float)}
            break
    if plain and value is not None and type(value) not in plain:
        yield f"{place} is {type(value).__name__}, wanted {', '.join(t.__name__ for t in plain)}"


def _said(model: type, name: str) -> str:
    """What the class's documentation says of a field."""
    _, _, after = (model.__doc__ or "").partition(f":ivar {name}: ")
    return after.partition(":vartype")[0]


def zone_wrong(body: Any) -> Iterator[str]:
    """Whether the zone is one that the library lists."""
    from azure.ai.ml.constants import TimeZone

    zone = body["properties"]["trigger"].get("timeZone", "UTC") if "trigger" in body.get("properties", {}) else "UTC"
    if zone not in {z.value for z in TimeZone}:
        yield f"{zone!r} is no time zone of AzureML"


if __name__ == "__main__":
    from azure.ai.ml._restclient.arm_ml_service import models

    for line in sys.stdin:
        asked = json.loads(line)
        kind = {"Schedule": models.Schedule, "Job": models.JobBase}[asked["kind"]]
        found = [*wrong(kind(asked["body"]), asked["body"], ""), *zone_wrong(asked["body"])]
        print("; ".join(found).replace("\n", " "), flush=True)
