"""A YAML file as a frozen model: every mistake with its line."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from steps.contracts.errors import ConfigError
from steps.engines.yaml_lines.parse import KeyPath, parse_yaml

Model = TypeVar("Model", bound=BaseModel)
# Chosen: far more than such a file has.
_MOST_BYTES = 1 << 20


def read_model(
    path: Path,
    where: str,
    model: type[Model],
    what: str,
    *,
    keys: Callable[[KeyPath], Sequence[str]],
    too_long: str,
    wrong: Callable[[Model], Iterator[tuple[KeyPath, str]]] = lambda _: iter(()),
) -> Model:
    """The model that a file says.

    Args:
        where: the file's name in messages. what: what it is, in a word.
        keys: keys that there are at the place of an unknown one.
        too_long: what to do where the file is absurdly long.
        wrong: what is wrong with a model whose parts are right: where, and what.

    Raises:
        ConfigError: it isn't YAML, or says something that such a model can't.
    """
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"longer than {_MOST_BYTES:,} bytes, which no {what} is", where=where, hint=too_long)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise ConfigError(f"not UTF-8 text (byte {e.start}, line {line})", where=where, hint="save it as UTF-8") from e
    values, lines = parse_yaml(text, where)
    try:
        made = model.model_validate(values)
    except ValidationError as e:
        raise ConfigError(_told(_mistakes(e, keys), lines, what), where=where) from e
    if found := list(wrong(made)):
        raise ConfigError(_told(found, lines, what), where=where)
    return made


def _told(found: Sequence[tuple[KeyPath, str]], lines: dict[KeyPath, int], what: str) -> str:
    """Each mistake with the line of the nearest place that the file has; what follows from another one isn't told."""
    told = []
    for place, why in found:
        if any(len(p) > len(place) and p[: len(place)] == place for p, _ in found):
            continue
        line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
        name = ".".join(map(str, place)) or what
        told.append((line or 0, f"{f'line {line}: ' if line else ''}{name}: {why}"))
    head = f"{len(told)} mistake{'s' if len(told) > 1 else ''} in the {what}"
    return "\n".join([head, *(f"  {t}" for _, t in sorted(told))])


def _mistakes(found: ValidationError, keys: Callable[[KeyPath], Sequence[str]]) -> list[tuple[KeyPath, str]]:
    errors = found.errors(include_url=False)
    return [(place := _place(e["loc"]), _why(place, e, keys)) for e in errors]


def _place(loc: tuple[int | str, ...]) -> KeyPath:
    """Without pydantic's own names of the forms that a value may have."""
    return tuple(p for p in loc if not (isinstance(p, str) and ("[" in p or p in ("auto", "tuple"))))


def _why(place: KeyPath, error: ErrorDetails, keys: Callable[[KeyPath], Sequence[str]]) -> str:
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    near = difflib.get_close_matches(str(place[-1]), keys(place), n=1)
    return f"unknown key{f'; did you mean {near[0]}?' if near else ''}"
