"""The stage's ledger lines, made a column at a time: a large run drops hundreds of thousands of rows."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.arrays import Numbers
from steps.dedup.decide import Decisions


def ledger_lines(d: Decisions) -> pa.Table:
    """One line per dropped row, and per kept row whose prompt is answered differently elsewhere, in the rows' order."""
    rows = np.flatnonzero(~d.keep | (d.contradictions.answers > 1))
    against = d.contradictions.dropped[rows]
    copies = ~d.keep[rows] & ~against
    verdict = np.where(d.keep[rows], "flagged", "dropped")
    reason = np.where(copies, np.where(d.near[rows], "near_duplicate", "exact_duplicate"), "contradiction")
    witness = np.where(copies, d.witness[rows], d.contradictions.first[rows])
    names = _text(d, witness)
    is_first = witness == rows
    return pa.table(
        {
            "record_id": _text(d, rows),
            "verdict": pa.array(verdict.tolist(), pa.string()),
            "reason": pa.array(reason.tolist(), pa.string()),
            "score": pa.array(d.score[rows], mask=~copies),
            "evidence": _evidence(d, rows, copies, names),
            "parents": _parents(names, ~d.keep[rows] & ~is_first),
        }
    )


def _evidence(d: Decisions, rows: Numbers, copies: npt.NDArray[np.bool_], names: pa.Array) -> pa.Array:
    answers = d.contradictions.answers[rows]
    contradicts = pa.array(np.where(answers > 1, "true", "false").tolist(), pa.string())
    jaccard = pc.cast(pa.array(np.round(np.where(copies, d.score[rows], 0.0), 6)), pa.string())
    copied = _joined('{"contradicts":', contradicts, ',"jaccard":', jaccard, ',"witness":"', names, '"}')
    claimed = _joined('{"answers":', pc.cast(pa.array(answers), pa.string()), ',"first":"', names, '"}')
    return pc.if_else(pa.array(copies), copied, claimed)


def _joined(*parts: str | pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(*(pa.scalar(p) if isinstance(p, str) else p for p in parts), "")


def _text(d: Decisions, rows: Numbers) -> pa.Array:
    """Record ids as strings, straight from their bytes."""
    ids = np.ascontiguousarray(d.prints.record_ids[rows])
    ends = np.arange(len(ids) + 1, dtype=np.int32) * np.int32(ids.itemsize)
    return pa.Array.from_buffers(pa.string(), len(ids), [None, pa.py_buffer(ends), pa.py_buffer(ids.view(np.uint8))])


def _parents(names: pa.Array, wanted: npt.NDArray[np.bool_]) -> pa.Array:
    """A list of the one name where wanted, else an empty list."""
    ends = np.concatenate(([0], np.cumsum(wanted))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), names.filter(pa.array(wanted)))
