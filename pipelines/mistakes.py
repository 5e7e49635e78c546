"""What is wrong with a configuration: every mistake at once, each where it stands, with the nearest right spelling.

A model stops at the first layer that has mistakes: keys and values first, then what only shows when these are right. So
what is wrong is taken out and the rest looked at again, and what follows from a mistake that was told is not told.
"""

import difflib
import types
import typing
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from pipelines.other_names import CALLED, INSTEAD, plain
from steps.engines.yaml_lines.parse import KeyPath

M = TypeVar("M", bound=BaseModel)
# Chosen: a long path is shown whole, a file's content isn't.
_SHOWN_CHARS = 200
# Pydantic's names of mistakes. What says that a value isn't of a form at all; and what Python calls it.
_OTHER_FORM = ("literal_error", "too_short", "tuple_type", "model_type", "dict_type", "string_type")
_WANTED = {"tuple_type": "a list", "list_type": "a list", "model_type": "a mapping of keys", "dict_type": "a mapping"}
# Chosen: more layers than any configuration has; every round takes something out.
_MOST_ROUNDS = 50
# Context of a validation of parts: a model doesn't look at whether they make a whole.
PARTS = {"parts": True}


@dataclass(frozen=True)
class Contradiction:
    """What only the whole shows. `rests_on`: top-level keys whose mistakes may be what it comes from."""

    place: KeyPath
    what: str
    rests_on: tuple[str, ...] = ()


class ContradictionsError(ValueError):
    """All contradictions that a model's own check has found, each with its place."""

    def __init__(self, found: Sequence[Contradiction]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(c.what for c in found))


@dataclass(frozen=True)
class Examined(Generic[M]):
    """What was found.

    Attributes:
        told: by place, what is wrong there; several reasons where a value may have several forms. Empty: nothing is.
        right: the model of what is right, validated as PARTS; None where that can't stand by itself.
    """

    told: dict[KeyPath, list[str]]
    right: M | None


def examine(model: type[M], values: dict[str, Any]) -> Examined[M]:
    """Look at values that should make a model, and find all that is wrong with them."""
    with suppress(ValidationError):
        return Examined({}, model.model_validate(values))
    search = _Search(model, deepcopy(values))
    for _ in range(_MOST_ROUNDS):
        try:
            return Examined(search.told, model.model_validate(search.left))
        except ValidationError as e:
            if not search.take(e):
                break
    with suppress(ValidationError):
        return Examined(search.told, model.model_validate(search.left, context=PARTS))
    return Examined(search.told, None)


@dataclass
class _Search:
    """What was found so far.

    Attributes:
        left: the values without those that were found wrong.
        told: what is wrong, by place.
        gone: places whose value was taken out.
        typos: those whose key is unknown, with the names that may be meant.
        filled: missing keys of the top that got a value, so that what else is wrong shows itself.
    """

    model: type[BaseModel]
    left: dict[str, Any]
    told: dict[KeyPath, list[str]] = field(default_factory=dict)
    gone: set[KeyPath] = field(default_factory=set)
    typos: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)

    def take(self, found: ValidationError) -> bool:
        """Tell what is new of these, and take out what they are about; False when nothing could be."""
        errors = [(_written(error, self.left), error) for error in found.errors(include_url=False)]
        unknown = (place for place, error in errors if error["type"] == "extra_forbidden")
        self.typos.update({place: _meant(self.model, place) for place in unknown})
        places = {place for place, _ in errors}
        for place, error in errors:
            # Of the form that was meant, what is wrong inside is said.
            deeper = any(p[: len(place)] == place and len(p) > len(place) for p in places)
            if not (deeper and error["type"] in _OTHER_FORM):
                self._tell(place, error)
        # Only after all are told: a list goes with its first wrong item.
        removed = [self._remove(place, error["type"]) for place, error in errors]
        return any(removed)

    def _tell(self, place: KeyPath, error: Any) -> None:
        cause = error.get("ctx", {}).get("error")
        if isinstance(cause, ContradictionsError):
            for c in cause.found:
                if not self._rests_on_mistakes(c):
                    self.told.setdefault(c.place, []).append(c.what)
        elif not self._follows(place, error["type"]):
            self.told.setdefault(place, []).append(_reason(self.model, error, place))

    def _follows(self, place: KeyPath, kind: str) -> bool:
        """Whether a mistake comes from one that was told before."""
        if place and any(g[: len(place)] == place for g in self.gone):
            return True
        if kind == "missing":
            return self._misspelt(place)
        return kind == "value_error" and any(meant and typo[:-1] == place for typo, meant in self.typos.items())

    def _misspelt(self, place: KeyPath) -> bool:
        return any(place[-1] in meant and typo[:-1] == place[:-1] for typo, meant in self.typos.items())

    def _rests_on_mistakes(self, found: Contradiction) -> bool:
        if found.place and self._misspelt(found.place):
            return True
        return any(related(found.place, g) or g[0] in found.rests_on for g in self.gone)

    def _remove(self, place: KeyPath, kind: str) -> bool:
        """Take a value out; for a missing one the mapping that lacks it. Whether that changed anything."""
        if kind == "missing" and len(place) == 1:
            self.gone.add(place)
            return self._fill(str(place[0]))
        place = place[:-1] if kind == "missing" else place
        while place and isinstance(place[-1], int):
            place = place[:-1]
        if not place:
            return False
        if kind != "extra_forbidden":
            self.gone.add(place)
        holder: Any = self.left
        for part in place[:-1]:
            if isinstance(holder, list) and isinstance(part, int):
                holder = holder[part]
            else:
                holder = holder.get(part) if isinstance(holder, dict) else None
        return isinstance(holder, dict) and holder.pop(place[-1], holder) is not holder

    def _fill(self, name: str) -> bool:
        """Any word for what is missing at the top, once."""
        if name in self.filled:
            return False
        self.filled.add(name)
        self.left[name] = "x"
        return True


def related(a: KeyPath, b: KeyPath) -> bool:
    """Whether one place is the other, or lies within it."""
    shorter = min(len(a), len(b))
    return shorter > 0 and a[:shorter] == b[:shorter]


def _written(error: Any, values: dict[str, Any]) -> KeyPath:
    """The place of a mistake as it stands in the file: pydantic also names the member of a union that was tried."""
    place: list[str | int] = []
    here: Any = values
    for part in error["loc"]:
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
            place.append(part)
    return (*place, error["loc"][-1]) if error["type"] == "missing" else tuple(place)


def _reason(model: type[BaseModel], error: Any, place: KeyPath) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key{_way_out(model, place)}"
    if error["type"] == "union_tag_not_found":
        return f"{error['ctx']['discriminator']} is missing; it says which of the forms this is"
    if error["type"] == "union_tag_invalid":
        return f"{_shown(error['ctx']['tag'])} is none of {error['ctx']['expected_tags']}"
    if error["type"] in _WANTED:
        return f"{_WANTED[error['type']]} is wanted (found {_shown(error['input'])})"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    untold = error["type"] in ("missing", "value_error") or isinstance(given, dict)
    return message if untold else f"{message} (found {_shown(given)})"


def _shown(value: Any) -> str:
    """A value in a message: enough of it to be found."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _way_out(model: type[BaseModel], place: KeyPath) -> str:
    """What to write instead of an unknown key."""
    models, written = _models_at(model, place[:-1]), str(place[-1])
    names = _names_of(models)
    if renamed := _renamed(model, models, place):
        return renamed
    if written in names:
        return "; another kind has it"
    if close := _close(written, names):
        return f"; did you mean {' or '.join(repr(n) for n in close)}?"
    if elsewhere := _places_of(model, written):
        return f"; it belongs elsewhere: {' or '.join(elsewhere[:3])}"
    return f"; known keys are {', '.join(names)}" if names else ""


def _renamed(model: type[BaseModel], models: Sequence[type[BaseModel]], place: KeyPath) -> str:
    """What a key is called that had this name before, or has it in another tool; "" for none."""
    written, parent = str(place[-1]), "".join(f"{p}." for p in place[:-1])
    moved = {old: new for m in models for old, new in getattr(m, "MOVED", {}).items()}
    if written in moved:
        return f"; {parent}{written} is now {parent}{moved[written]}"
    if written in _names_of(models):
        return ""
    if called := _called(model, place):
        return f"; here it is called {called}"
    if plain(written) in INSTEAD and _is_run(model):
        return f"; there is no such key: {INSTEAD[plain(written)]}"
    return ""


def _meant(model: type[BaseModel], place: KeyPath) -> tuple[str, ...]:
    """Names at the same place that an unknown key may stand for."""
    called = _called(model, place)
    section = ".".join(p for p in place[:-1] if isinstance(p, str))
    if called and called.rpartition(".")[0] == section:
        return (called.rpartition(".")[2],)
    return tuple(_close(str(place[-1]), _names_of(_models_at(model, place[:-1]))))


def _called(model: type[BaseModel], place: KeyPath) -> str:
    """What another tool's name is called here; "" where it is no such name, or stands for what this model lacks."""
    section = ".".join(p for p in place[:-1] if isinstance(p, str))
    ours = [path for path in CALLED.get(plain(str(place[-1])), ()) if exists(model, path)]
    return next((path for path in ours if path.rpartition(".")[0] == section), ours[0] if ours else "")


def exists(model: type[BaseModel], path: str) -> bool:
    """Whether a dotted path names a field of the model, in any of the forms that its parts may have."""
    *parents, last = path.split(".")
    return last in _names_of(_models_at(model, tuple(parents)))


def _is_run(model: type[BaseModel]) -> bool:
    return exists(model, "train.learning_rate")


def _close(written: str, names: Sequence[str]) -> list[str]:
    close = [n for n in names if len(written) > 3 and written in n][:3]
    return close or difflib.get_close_matches(written, names, n=1)


def _names_of(models: Sequence[type[BaseModel]]) -> list[str]:
    return sorted({n for m in models for n in m.model_fields})


def _places_of(model: type[BaseModel], name: str, above: str = "", seen: tuple[type[BaseModel], ...] = ()) -> list[str]:
    """Dotted paths of the fields of that name, the shallowest first."""
    found = [f"{above}{name}"] if above and name in model.model_fields else []
    for part, info in model.model_fields.items():
        for below in dict.fromkeys(_models_in(info.annotation)):
            if below not in seen:
                found += _places_of(below, name, f"{above}{part}.", (*seen, model))
    return sorted(dict.fromkeys(found), key=lambda p: p.count("."))


def _models_at(model: type[BaseModel], place: KeyPath) -> list[type[BaseModel]]:
    """The models that may stand at a place (several for a union); none below a field that isn't there."""
    here: list[type[BaseModel]] = [model]
    for part in place:
        if isinstance(part, int):
            continue
        fields = [m.model_fields[part].annotation for m in here if part in m.model_fields]
        here = [found for annotation in fields for found in _models_in(annotation)]
    return here


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Annotated, typing.Union, types.UnionType, tuple, list, dict):
        return [m for a in typing.get_args(annotation) for m in _models_in(a)]
    return []
