"""A sample of the rows."""

import heapq

from steps.contracts.dataset import Dataset
from steps.contracts.digests import text_digest
from steps.engines.rows.by_id import rows_of
from steps.engines.rubric.case import Case, case_of


def sampled(rows: Dataset, count: int, seed: int) -> list[Case]:
    """Rows by the smallest hashes of their contents, one of each content, in that order: the same in any order of the
    rows. A smaller sample is the beginning of a larger one.
    """
    # By content: its hash, and the smallest of the ids of rows that say the same.
    smallest: dict[str, tuple[str, str]] = {}
    for chunk in rows.chunks(["record_id", "content_id"]):
        for record, content in zip(*(chunk.table[c].to_pylist() for c in ("record_id", "content_id")), strict=True):
            mark = text_digest(f"{seed}:{content}")
            smallest[content] = min((mark, record), smallest.get(content, (mark, record)))
        # No more is held than is drawn and what a chunk adds.
        drawn = heapq.nsmallest(count, smallest, key=smallest.__getitem__)
        smallest = {content: smallest[content] for content in drawn}
    found = rows_of(rows, [record for _, record in smallest.values()])
    return [case_of(found[record]) for _, record in smallest.values()]
