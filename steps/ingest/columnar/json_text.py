"""Canonical JSON of many values at once: equal to `contracts.digests.canonical_json` of what `to_pylist` gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.arrays import Mask
from steps.contracts.digests import canonical_json
from steps.ingest.columnar import kernel
from steps.ingest.columnar.strings import Bytes, Strings, any_between, offsets


@dataclass(frozen=True)
class Member:
    """One key of n objects. values: JSON text, with `quote` text to be quoted; there: which objects have it."""

    name: str
    values: Strings
    there: Mask
    quote: bool = False

    @property
    def key(self) -> Bytes:
        """The key as it is written, with its colon."""
        return np.frombuffer(f"{canonical_json(self.name)}:".encode(), np.uint8)


def objects(members: Sequence[Member], rows: int) -> Strings:
    """One JSON object per row, keys in canonical order."""
    members = sorted(members, key=lambda m: m.name)
    sizes, count = np.full(rows, 2, np.int64), np.zeros(rows, np.int64)
    for m in members:
        own = np.zeros(rows, np.int64) if m.quote else m.values.sizes
        if m.quote:
            kernel.quoted_sizes(m.values.data, m.values.ends, own)
        sizes += np.where(m.there, own + len(m.key), 0)
        count += m.there
    ends = offsets(sizes + np.maximum(count - 1, 0))
    out = np.empty(max(int(ends[-1]), 1), np.uint8)
    out[ends[:-1]] = ord("{")
    at, begun = ends[:-1] + 1, np.zeros(rows, bool)
    for m in members:
        kernel.put_members(m.key, m.values.data, m.values.ends, m.there, m.quote, out, at, begun)
    out[at] = ord("}")
    return Strings(out, ends)


def json_of(array: pa.Array) -> tuple[Strings, Mask] | None:
    """The JSON text of each value, and which of them are odd: to be left to `canonical_json`. None: of no known type.

    Odd are numbers that JSON lacks, text that isn't UTF-8 or holds a NUL, and nulls inside of lists and objects (Arrow
    adds them where values differ in their keys).
    """
    kind = array.type
    if pa.types.is_struct(kind):
        return _structs(array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists(array)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _texts(array)
    odd = np.zeros(len(array), bool)
    if pa.types.is_null(kind):
        text = pa.array(["null"] * len(array), pa.string())
    elif pa.types.is_floating(kind) and kind != pa.float16():
        text = pa.array([None if v is None else float.__repr__(v) for v in array.to_pylist()], pa.string())
        odd = pc.invert(pc.fill_null(pc.is_finite(array), True)).to_numpy(zero_copy_only=False)
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        text = array.cast(pa.string())
    else:
        return None
    return Strings.of(_filled(text)), odd


def odd_text(strings: Strings) -> Mask:
    """Which texts aren't UTF-8 or hold a NUL."""
    odd = np.zeros(len(strings), bool)
    kernel.odd_bytes(strings.data, strings.ends, odd)
    return odd


def _filled(text: pa.Array) -> pa.Array:
    return text.fill_null("null") if text.null_count else text


def _texts(array: pa.Array) -> tuple[Strings, Mask]:
    strings = Strings.of(array)
    sizes = np.zeros(len(array), np.int64)
    kernel.quoted_sizes(strings.data, strings.ends, sizes)
    ends = offsets(sizes)
    out = np.empty(max(int(ends[-1]), 1), np.uint8)
    every, begun = np.ones(len(array), bool), np.zeros(len(array), bool)
    kernel.put_members(np.zeros(0, np.uint8), strings.data, strings.ends, every, True, out, ends[:-1].copy(), begun)
    odd = odd_text(strings)
    quoted = Strings(out, ends)
    if array.null_count:
        here = pa.array(np.asarray(array.is_valid()))
        return Strings.of(pc.if_else(here, quoted.arrow(), "null")), odd
    return quoted, odd


def _structs(array: pa.Array) -> tuple[Strings, Mask] | None:
    names = [f.name for f in array.type]
    if len(set(names)) < len(names):
        return None
    odd = np.asarray(array.is_null())
    members = []
    for name, child in zip(names, array.flatten(), strict=True):
        made = json_of(child)
        if made is None:
            return None
        odd = odd | made[1] | np.asarray(child.is_null())
        members.append(Member(name, made[0], np.ones(len(array), bool)))
    return objects(members, len(array)), odd


def _lists(array: pa.Array) -> tuple[Strings, Mask] | None:
    ends = np.asarray(array.offsets).astype(np.int64)
    made = json_of(array.values)
    if made is None:
        return None
    elements, odd = made
    odd = odd | np.asarray(array.values.is_null())
    out = np.empty(int(elements.sizes.sum()) + len(elements) + 2 * len(array) + 1, np.uint8)
    out_ends = np.empty(len(array) + 1, np.int64)
    kernel.put_lists(ends, elements.data, elements.ends, out, out_ends)
    return Strings(out, out_ends), any_between(odd, ends) | np.asarray(array.is_null())
