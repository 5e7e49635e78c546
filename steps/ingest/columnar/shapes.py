"""Rows of a known shape, by columns: what the formats of `engines.formats` read from them row by row.

Only column sets that are understood to the last name; anything else is left to the careful path, as are single rows
that may say more than their columns (blank texts, transcripts, JSON in a text).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.arrays import Mask, Numbers
from steps.contracts.records import Kind
from steps.engines.formats.columns import COMPLETIONS, LISTS, OUTPUTS, PROMPTS, RESPONSES
from steps.engines.formats.dialects.content import MEDIA
from steps.engines.formats.marks import LABELS, REASONING, TELLING
from steps.engines.formats.names import renames
from steps.engines.formats.preference import CHOSEN, REJECTED
from steps.engines.formats.prompts import INPUT_AT
from steps.ingest.columnar import kernel
from steps.ingest.columnar.columns import ASSISTANT, SYSTEM, USER, Column, Literal, Roles, Text, Turns
from steps.ingest.columnar.strings import Strings, any_between
from steps.ingest.config import CANONICAL_COLUMNS

# `source` and `target` are mostly where a row comes from and who it is for.
_PROMPTS = tuple(n for n in PROMPTS if n not in ("source", "context"))
_COMPLETIONS = tuple(n for n in COMPLETIONS if n != "target")
_INPUTS = ("input", "context")
# Columns that mean something to a format: a row that has one beyond those it needs isn't understood here.
_MEANT = frozenset(
    (*CANONICAL_COLUMNS, *TELLING, *LABELS, *REASONING, *PROMPTS, *COMPLETIONS, *OUTPUTS, *RESPONSES, *LISTS, *CHOSEN,
     *REJECTED, *MEDIA, "content", "systemInstruction", "record_id", "content_id")
) - {"source"}  # fmt: skip


@dataclass(frozen=True)
class Drafts:
    """n records without ids. lists[k, i]:lists[k, i + 1] are the turns of row i in messages, chosen and rejected.

    texts: of the turns, or of documents one per row. odd: rows that the careful path has to read. meta: further
    members of `meta`. used: columns that are no part of it.
    """

    kind: Kind
    lists: Numbers
    roles: Roles
    texts: Strings
    odd: Mask
    used: frozenset[str]
    meta: Mapping[str, Literal] = field(default_factory=dict)


Columns = Mapping[str, Column]


def drafts_of(row_format: str, columns: Columns, rows: int) -> Drafts | None:
    """What the rows say in this format; None where that isn't understood here."""
    read = _READERS.get(row_format)
    # A name that is known but for how it is written is looked at row by row.
    made = read(columns, rows) if read and not renames(tuple(columns)) else None
    if made is None or any(c in _MEANT or isinstance(columns[c], Turns) for c in columns.keys() - made.used):
        return None
    return made


def _documents(columns: Columns, rows: int) -> Drafts | None:
    text = columns.get("text")
    if not isinstance(text, Text):
        return None
    nothing = np.zeros((3, 1), np.int64)
    return Drafts("document", nothing, np.zeros(0, np.int8), text.values, _odd(text, plain=True), frozenset({"text"}))


def _pairs(columns: Columns, rows: int) -> Drafts | None:
    prompt, completion = _only(columns, _PROMPTS), _only(columns, _COMPLETIONS)
    return None if prompt is None or completion is None else _answered(columns, prompt, completion)


def _instructions(columns: Columns, rows: int) -> Drafts | None:
    output = _only(columns, OUTPUTS)
    if output is None or "instruction" not in columns:
        return None
    given = [c for c in _INPUTS if c in columns]
    if not given:
        return _answered(columns, "instruction", output)
    if len(given) > 1:
        return None
    asked, added = columns["instruction"], columns[given[0]]
    if not isinstance(asked, Text) or not isinstance(added, Text):
        return None
    empty = added.values.sizes == 0
    both = Text(_with_input(asked.values, added.values, empty), asked.there)
    used = frozenset({"instruction", given[0], output})
    made = _answered({**columns, "instruction": both}, "instruction", output)
    if made is None:
        return None
    size = np.zeros(rows, np.int64)
    kernel.characters(asked.values.data, asked.values.ends, size)
    at = Literal(Strings.of(pa.array(size + 2).cast(pa.string())), ~empty)
    odd = made.odd | _odd(asked) | np.where(added.there & ~empty, _odd(added), False)
    # A null input is read as an empty one; where it stands says nothing about its bytes.
    odd |= ~added.there
    return Drafts(made.kind, made.lists, made.roles, made.texts, odd, used, {INPUT_AT: at})


def _with_input(asked: Strings, added: Strings, empty: Mask) -> Strings:
    instruction = asked.arrow()
    if empty.all():
        return asked
    joined = pc.binary_join_element_wise(instruction, added.arrow(), "\n\n")
    return Strings.of(pc.if_else(pa.array(empty), instruction, joined))


def _answered(columns: Columns, prompt: str, completion: str) -> Drafts | None:
    asked, answer = columns[prompt], columns[completion]
    if not isinstance(asked, Text) or not isinstance(answer, Text):
        return None
    n = len(asked.values)
    turns = _in_turn([asked.values, answer.values])
    lists = np.zeros((3, n + 1), np.int64)
    lists[0] = np.arange(0, 2 * n + 1, 2)
    roles = np.tile(np.array([USER, ASSISTANT], np.int8), n)
    return Drafts("conversation", lists, roles, turns, _odd(asked) | _odd(answer), frozenset({prompt, completion}))


def _preferences(columns: Columns, rows: int) -> Drafts | None:
    prompt = _only(columns, _PROMPTS)
    if prompt is None or not {"chosen", "rejected"} <= columns.keys():
        return None
    sides = [columns[c] for c in (prompt, "chosen", "rejected")]
    texts = [s for s in sides if isinstance(s, Text)]
    if len(texts) < len(sides):
        return None
    n = len(texts[0].values)
    lists = np.stack([np.arange(k * n, (k + 1) * n + 1) for k in range(3)]).astype(np.int64)
    roles = np.repeat(np.array([USER, ASSISTANT, ASSISTANT], np.int8), n)
    arrays = [t.values.arrow() for t in texts]
    odd = np.logical_or.reduce([_odd(t) for t in texts])
    odd |= pc.equal(arrays[1], arrays[2]).to_numpy(zero_copy_only=False)
    joined = Strings.of(pa.concat_arrays(arrays))
    return Drafts("preference", lists, roles, joined, odd, frozenset({prompt, "chosen", "rejected"}))


def _conversations(columns: Columns, rows: int, names: tuple[str, ...], spoken: bool) -> Drafts | None:
    name = _only(columns, names)
    turns = columns[name] if name else None
    if name is None or not isinstance(turns, Turns) or turns.spoken != spoken:
        return None
    starts = np.zeros(len(turns.roles), bool)
    kernel.odd_starts(turns.texts.data, turns.texts.ends, False, starts)
    odd = any_between(starts, turns.lists) | _out_of_turn(turns)
    lists = np.zeros((3, rows + 1), np.int64)
    lists[0] = turns.lists
    return Drafts("conversation", lists, turns.roles, turns.texts, odd, frozenset({name}))


def _out_of_turn(turns: Turns) -> Mask:
    """Rows in which, behind at most one system turn, user and assistant don't speak in turn, the assistant last."""
    sizes, first = np.diff(turns.lists), turns.lists[:-1]
    roles = np.append(turns.roles, np.int8(-1))
    system = (sizes > 0) & (roles[np.minimum(first, len(roles) - 1)] == SYSTEM)
    number = np.arange(turns.lists[0], turns.lists[-1]) - np.repeat(first + system, sizes)
    wanted = np.where(number < 0, SYSTEM, np.where(number % 2 == 0, USER, ASSISTANT))
    wrong = np.zeros(len(turns.roles), bool)
    wrong[turns.lists[0] : turns.lists[-1]] = turns.roles[turns.lists[0] : turns.lists[-1]] != wanted
    spoken = sizes - system
    return np.asarray(any_between(wrong, turns.lists) | (spoken < 2) | (spoken % 2 == 1))


def _openai(columns: Columns, rows: int) -> Drafts | None:
    return _conversations(columns, rows, ("messages", "conversations", "conversation"), False)


def _sharegpt(columns: Columns, rows: int) -> Drafts | None:
    return _conversations(columns, rows, ("conversations", "conversation", "messages"), True)


_READERS: Mapping[str, Callable[[Columns, int], Drafts | None]] = {
    "text": _documents,
    "prompt_completion": _pairs,
    "alpaca": _instructions,
    "preference": _preferences,
    "openai": _openai,
    "sharegpt": _sharegpt,
}


def _only(columns: Columns, names: tuple[str, ...]) -> str | None:
    """The name that is a column; None for none or several."""
    found = [n for n in names if n in columns]
    return found[0] if len(found) == 1 else None


def _odd(text: Text, *, plain: bool = False) -> Mask:
    """Rows without a text, or with one that may be blank or, unless `plain`, begins like JSON or a transcript."""
    odd = ~text.there
    kernel.odd_starts(text.values.data, text.values.ends, plain, odd)
    return odd


def _in_turn(texts: list[Strings]) -> Strings:
    """The first texts of all, the second ones, and so on."""
    n, k = len(texts[0]), len(texts)
    order = np.arange(n * k).reshape(k, n).T.reshape(-1)
    return Strings.of(pa.concat_arrays([t.arrow() for t in texts]).take(pa.array(order)))
