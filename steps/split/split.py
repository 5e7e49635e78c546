"""Labels every row train, validation or test by a hash of what the row says."""

import hashlib

import numpy as np

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, SplitCodes
from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SPLITS, Row
from steps.contracts.reports import StageReport, Table
from steps.engines.progress.progress import Progress, Stopwatch
from steps.engines.text.normalise import squeezed
from steps.engines.text.sides import opening
from steps.split.config import SplitConfig

# Below this, a rate measured on the test rows has a 95 % interval wider than +-10 points (1.96 * sqrt(.25 / 100)).
_FEW_TEST_ROWS = 100
# Chosen: a share off by more than this (in points) and by more than chance is worth a note.
_OFF_POINTS = 2.0
_COLUMNS = ["content_id", "kind", "messages", "text", "parents"]


def split(rows: Dataset, config: SplitConfig, ctx: StageContext) -> Outcome:
    """Give every row a split label; no row is dropped.

    A row's label depends on the row and the config alone: adding, dropping or reordering other rows never changes
    it, and no number of test rows is guaranteed.
    """
    watch = Stopwatch()
    positions = _positions(rows, config)
    codes = labels(positions, config)
    with LedgerWriter(ctx.folder / "ledger.parquet", "split") as writer:
        ledger = writer.close()
    labelled = rows.select(np.ones(rows.rows, bool), ctx.folder, "split", codes)
    return Outcome(labelled, ledger, _report(positions, codes, config, watch).balanced())


def group_of(row: Row, config: SplitConfig) -> str:
    """What the row's label is a function of; rows with the same one are never torn apart."""
    if config.group_by == "parent" and row["parents"]:
        return "parent:" + str(row["parents"][0])
    if config.group_by == "prompt" and row["kind"] != "document" and (asked := squeezed(opening(row))):
        return "prompt:" + asked
    return "content:" + str(row["content_id"])


def position(group: str, salt: str) -> int:
    """Where a group lies on the line from 0 to 2**64 - 1; uniform over groups."""
    key = hashlib.blake2b(salt.encode(), digest_size=32).digest()
    raw = hashlib.blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(raw, "big")


def labels(positions: np.ndarray[tuple[int], np.dtype[np.uint64]], config: SplitConfig) -> SplitCodes:
    """Split codes (index into SPLITS), same shape: test lies lowest, then validation, then train.

    So a larger test share only adds rows to the test set, at the expense of validation.
    """
    test_below = int(config.test * 2**64)
    validation_below = int((config.test + config.validation) * 2**64)
    codes = np.full(positions.shape, SPLITS.index("train"), np.int8)
    codes[positions < np.uint64(validation_below)] = SPLITS.index("validation")
    codes[positions < np.uint64(test_below)] = SPLITS.index("test")
    return codes


def _positions(dataset: Dataset, config: SplitConfig) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    out = np.empty(dataset.rows, np.uint64)
    with Progress("split", dataset.rows) as progress:
        for chunk in dataset.chunks(_COLUMNS):
            rows = chunk.table.to_pylist()
            out[chunk.start : chunk.start + len(rows)] = [position(group_of(r, config), config.salt) for r in rows]
            progress.advance(len(rows))
    return out


def _report(
    positions: np.ndarray[tuple[int], np.dtype[np.uint64]], codes: SplitCodes, config: SplitConfig, watch: Stopwatch
) -> StageReport:
    rows = len(codes)
    _, first, sizes = np.unique(positions, return_index=True, return_counts=True)
    per_split: dict[str, int] = {name: int((codes == i).sum()) for i, name in enumerate(SPLITS)}
    groups: dict[str, int] = {name: int((codes[first] == i).sum()) for i, name in enumerate(SPLITS)}
    asked: dict[str, float] = {
        "train": 1.0 - config.validation - config.test,
        "validation": config.validation,
        "test": config.test,
    }
    return StageReport(
        stage="split",
        rows_in=rows,
        kept=rows,
        counts={
            "rows": per_split,
            "groups": groups,
            "largest group": {"rows": int(sizes.max(initial=0))},
        },
        tables=(
            Table(
                title="Split",
                columns=("split", "rows", "% of rows", "% asked for", "groups"),
                rows=tuple(
                    (s, per_split[s], round(100 * per_split[s] / max(rows, 1), 2), round(100 * asked[s], 2), groups[s])
                    for s in SPLITS
                ),
            ),
        ),
        notes=_notes(per_split, asked, int(sizes.max(initial=0)), config),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _notes(per_split: dict[str, int], asked: dict[str, float], largest: int, config: SplitConfig) -> tuple[str, ...]:
    rows = sum(per_split.values())
    notes = [f"Labels are a hash of the {config.group_by} with salt {config.salt!r}: adding rows changes none of them."]
    for name in ("validation", "test"):
        if asked[name] > 0 and not per_split[name]:
            notes.append(f"No row fell into {name}: {rows} rows are too few for a share of {asked[name]:g}.")
    if 0 < per_split["test"] < _FEW_TEST_ROWS:
        notes.append(
            f"Only {per_split['test']} test rows: a rate measured on them is uncertain by more than 10 points"
            " (95 % interval)."
        )
    for name in SPLITS:
        share = per_split[name] / max(rows, 1)
        chance = 3 * (asked[name] * (1 - asked[name]) / max(rows, 1)) ** 0.5
        if rows and abs(share - asked[name]) > max(_OFF_POINTS / 100, chance):
            notes.append(
                f"{name} holds {100 * share:.1f} % of the rows, not {100 * asked[name]:.1f} %: groups stay together,"
                f" and the largest has {largest} rows."
            )
    return tuple(notes)
