"""Columns whose values the columnar path understands, from Arrow."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.arrays import Mask, Numbers
from steps.ingest.columnar import kernel
from steps.ingest.columnar.json_text import json_of, odd_text
from steps.ingest.columnar.strings import Strings, any_between

# Names of speakers by number, and the number of the role that each has in a record.
SPEAKERS = ("system", "user", "assistant", "human", "gpt")
SYSTEM, USER, ASSISTANT = range(3)
_ROLE_OF_SPEAKER = np.array([SYSTEM, USER, ASSISTANT, USER, ASSISTANT], np.int8)
SPEAKER_NAMES = Strings.from_texts(SPEAKERS)
# What names who speaks, and what is said.
_FORMS = ({"role", "content"}, {"from", "value"})

Roles = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Text:
    """A text per row; there: which rows have one."""

    values: Strings
    there: Mask


@dataclass(frozen=True)
class Literal:
    """A value per row that is only carried on, as JSON text."""

    values: Strings
    there: Mask


@dataclass(frozen=True)
class Turns:
    """A list of turns per row: row i has turns lists[i]:lists[i + 1]; roles: SYSTEM, USER, ASSISTANT, -1 another.

    spoken: whether turns are written as from and value, not as role and content.
    """

    lists: Numbers
    roles: Roles
    texts: Strings
    spoken: bool


Column: TypeAlias = Text | Literal | Turns


def roles_of(data: npt.NDArray[np.uint8], starts: Numbers, ends: Numbers) -> Roles:
    """The role numbers of speakers' names data[starts[i]:ends[i]]; -1 for one that has to be looked up."""
    found = np.empty(len(starts), np.int8)
    kernel.role_numbers(data, starts, ends, SPEAKER_NAMES.data, SPEAKER_NAMES.ends, found)
    return np.where(found < 0, np.int8(-1), _ROLE_OF_SPEAKER[found])


def column_of(array: pa.Array) -> tuple[Column, Mask] | None:
    """An Arrow column, and which rows of it are odd: to be read by the careful path. None: of an unknown type."""
    there = np.asarray(array.is_valid())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        strings = Strings.of(array)
        return Text(strings, there), odd_text(strings) & there
    if _is_turns(array.type):
        return _turns(array)
    made = json_of(array)
    return None if made is None else (Literal(made[0], there), made[1])


def _is_turns(kind: pa.DataType) -> bool:
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    fields = kind.value_type
    return {f.name for f in fields} in _FORMS and fields.num_fields == 2 and all(f.type == pa.string() for f in fields)


def _turns(array: pa.Array) -> tuple[Column, Mask]:
    lists, values = np.asarray(array.offsets).astype(np.int64), array.values
    parts = dict(zip([f.name for f in values.type], values.flatten(), strict=True))
    spoken = "from" in parts
    who, said = (parts["from"], parts["value"]) if spoken else (parts["role"], parts["content"])
    names, texts = Strings.of(who), Strings.of(said)
    roles = roles_of(names.data, names.ends[:-1], names.ends[1:])
    odd = odd_text(texts) | np.asarray(values.is_null()) | np.asarray(who.is_null()) | np.asarray(said.is_null())
    return Turns(lists, roles, texts, spoken), any_between(odd, lists) | np.asarray(array.is_null())
