"""Logs of production to rows: every line is a request of a window, or has a reason why it isn't.

Files are read twice: once to know which requests there are, and once for the texts of those that are in a window, so
that memory holds no more texts than the windows have.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.digests import bytes_digest, value_digest
from steps.contracts.errors import InputError
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import SCHEMA, Row
from steps.contracts.reports import StageReport, Table
from steps.contracts.tombstones import ERASED
from steps.engines.progress.progress import Stopwatch
from steps.logs.config import LogsConfig
from steps.logs.entries import Entry, Feedback, LineError, corrected, entry, feedback_line, ids_of, parsed
from steps.logs.files import LogFile, LogLine, as_digested, file_digests, find_files, lines_of

# Why a line that can be read gives no row.
DUPLICATE, OUTSIDE, FUTURE = "duplicate_line", "outside_windows", "in_the_future"
FEEDBACK, FEEDBACK_ON_NOTHING = "feedback", "feedback_on_nothing"
# Clocks of two machines are never further apart: chosen.
_CLOCKS_APART = 3600.0
# Chosen: so many requests are known, with a kilobyte each, before old ones are let go.
_KEPT = 50_000
# Rows that are written at once.
_AT_ONCE = 1_000

FACTS_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        # 0: the newest one.
        pa.field("window", pa.int32(), nullable=False),
        # Seconds since 1970; of the answer, in seconds.
        pa.field("created", pa.float64(), nullable=False),
        pa.field("latency", pa.float64()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        # Digest of the weights that answered; "" where the log doesn't say.
        pa.field("model", pa.string(), nullable=False),
        pa.field("failed", pa.bool_(), nullable=False),
        pa.field("cut", pa.bool_(), nullable=False),
        # accepted, rejected; null without. Whether there is a correction; label under which the row may be used.
        pa.field("feedback", pa.string()),
        pa.field("corrected", pa.bool_(), nullable=False),
        pa.field("consent", pa.string(), nullable=False),
        # Where the line stood when it was read, and its SHA-256.
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)


def input_digests(config: LogsConfig, root: Path) -> dict[str, str]:
    """What the logs are now: length and SHA-256 per file."""
    return file_digests(find_files(config.paths, root))


@dataclass
class _Seen:
    """What the first reading found. `where`: file and line of each request, by record id."""

    entries: dict[str, Entry] = field(default_factory=dict)
    where: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    feedback: dict[str, Feedback] = field(default_factory=dict)
    feedback_lines: list[tuple[str, str]] = field(default_factory=list)
    lines: int = 0
    # (record id, reason) of lines that give no row; of bad ones also (file, line, reason, sha256).
    dropped: list[tuple[str, str]] = field(default_factory=list)
    bad: list[tuple[str, int, str, str]] = field(default_factory=list)
    unknown_feedback: int = 0
    # Ids of answers whose requests lie before the windows; how many requests are known when that is looked at again.
    old_keys: set[str] = field(default_factory=set)
    looked_at: int = field(default_factory=lambda: _KEPT)

    def forget_old(self, config: LogsConfig) -> None:
        """Let go of requests that are before all windows: those that come can't bring them back."""
        if len(self.entries) < self.looked_at:
            return
        kept = windows_of([*self.entries.values()], config)
        for record_id in self.entries.keys() - kept.keys():
            self.dropped.append((record_id, OUTSIDE))
            self.old_keys.add(self.entries.pop(record_id).key)
            del self.where[record_id]
        self.looked_at = max(_KEPT, 2 * len(kept))


def logs(config: LogsConfig, ctx: StageContext, now: float | None = None) -> Outcome:
    """The requests of the newest windows, oldest first, as rows that no scrub has seen; what is known of them that is
    no text is in the artifact `log_facts`, lines that can't be read in `log_rejects` (by place and digest, no text).

    A line is a request once, however many files have it. `now`: what is later than this was logged by a clock that is
    wrong; None: this moment.

    Raises:
        InputNotFoundError: no log. InputError: too many lines can't be read, none is a request, or a file changed.
    """
    watch = Stopwatch()
    files = as_digested(find_files(config.paths, ctx.root), ctx.inputs)
    seen = _first_reading(files, config, ctx, time.time() if now is None else now)
    _check_readable(seen, config)
    seen.looked_at = 0
    seen.forget_old(config)
    windows = windows_of([*seen.entries.values()], config)
    ids = {e.key for e in seen.entries.values()} | seen.old_keys
    seen.dropped += [(record_id, FEEDBACK if key in ids else FEEDBACK_ON_NOTHING) for record_id, key in
                     seen.feedback_lines]  # fmt: skip
    rows = _second_reading(files, config, ctx, seen, windows)
    facts = _write_facts(seen, windows, ctx.folder / "log_facts.parquet")
    with LedgerWriter(ctx.folder / "ledger.parquet", "logs") as writer:
        for record_id, reason in sorted(seen.dropped):
            writer.add(record_id, "dropped", reason)
        ledger = writer.close()
    report = _report(seen, windows, rows.rows, files, config, watch).balanced()
    rejects = _write_rejects(seen, ctx.folder / "log_rejects.jsonl")
    return Outcome(rows, ledger, report, artifacts={"log_facts": facts, "log_rejects": rejects})


def windows_of(entries: list[Entry], config: LogsConfig) -> dict[str, int]:
    """The window of each request by record id, 0 the newest; those before the oldest window have none."""
    ordered = sorted(entries, key=lambda e: (-e.created, e.record_id))
    if config.window_requests is not None:
        numbered = ((e.record_id, place // config.window_requests) for place, e in enumerate(ordered))
    elif config.window_hours is not None:
        span = config.window_hours * 3600
        numbered = ((e.record_id, int((ordered[0].created - e.created) // span)) for e in ordered)
    else:
        numbered = ((e.record_id, 0) for e in ordered)
    return {record_id: window for record_id, window in numbered if window < config.windows}


def _lines(files: list[LogFile], config: LogsConfig, ctx: StageContext) -> Iterator[tuple[LogFile, LogLine]]:
    for file in files:
        digest = ctx.inputs[file.name] if ctx.inputs is not None else None
        for line in lines_of(file, config.max_line_bytes, digest):
            yield file, line


def _first_reading(files: list[LogFile], config: LogsConfig, ctx: StageContext, now: float) -> _Seen:
    seen = _Seen()
    known: set[str] = set()
    for file, line in _lines(files, config, ctx):
        seen.lines += 1
        # A line without bytes is told by its place.
        record_id, _ = ids_of(line.raw or f"{file.name}:{line.number}".encode(), config.source)
        if record_id in known:
            seen.dropped.append((record_id, DUPLICATE))
            continue
        known.add(record_id)
        if ctx.tombstones and (erasure := ctx.tombstones.refusing_raw(f"{config.source}/log", record_id, line.raw)):
            # Not even its id is kept.
            seen.dropped.append((erasure, ERASED))
            continue
        try:
            _take(line, record_id, file.name, config, seen, now)
        except LineError as e:
            seen.dropped.append((record_id, e.reason))
            seen.bad.append((file.name, line.number, e.reason, bytes_digest(line.raw)))
    return seen


def _take(line: LogLine, record_id: str, file: str, config: LogsConfig, seen: _Seen, now: float) -> None:
    value = parsed(line)
    if (said := feedback_line(value)) is not None:
        key, feedback = said
        seen.feedback_lines.append((record_id, key))
        last = seen.feedback.get(key)
        if last is None or last.order < feedback.order:
            seen.feedback[key] = feedback
        seen.unknown_feedback += feedback.unknown
        return
    found, _ = entry(value, line.raw, config.source)
    if found.created > now + _CLOCKS_APART:
        seen.dropped.append((record_id, FUTURE))
        return
    seen.unknown_feedback += found.feedback.unknown
    seen.entries[record_id] = found
    seen.where[record_id] = file, line.number, bytes_digest(line.raw)
    seen.forget_old(config)


def _check_readable(seen: _Seen, config: LogsConfig) -> None:
    if seen.lines and len(seen.bad) > config.max_bad_share * seen.lines:
        why = Counter(reason for _, _, reason, _ in seen.bad).most_common(3)
        said = ", ".join(f"{reason} {n:,}" for reason, n in why)
        raise InputError(
            f"{len(seen.bad):,} of {seen.lines:,} lines can't be read ({said}); the first: {seen.bad[0][0]}, line"
            f" {seen.bad[0][1]}",
            where="logs.paths",
            hint="docs/stages/logs.md says what a line must have; or raise logs.max_bad_share",
        )
    if not seen.entries:
        raise InputError(
            f"no request in {seen.lines:,} lines", where="logs.paths",
            hint="docs/stages/logs.md says what a line must have",
        )  # fmt: skip


def _second_reading(
    files: list[LogFile], config: LogsConfig, ctx: StageContext, seen: _Seen, windows: Mapping[str, int]
) -> Dataset:
    """The rows of the windows, oldest first."""
    rows: dict[str, Row] = {}
    wanted = {seen.where[record_id][:2]: record_id for record_id in windows}
    for file, line in _lines(files, config, ctx):
        record_id = wanted.get((file.name, line.number))
        if record_id is None:
            continue
        found, row = entry(parsed(line), line.raw, config.source)
        said = seen.feedback.get(found.key) if found.key else None
        rows[record_id] = corrected(row, said, line.raw) if said is not None else row
    ordered = sorted(windows, key=lambda r: (seen.entries[r].created, r))
    writer = DatasetWriter(ctx.folder / "rows", "logs")
    for start in range(0, len(ordered), _AT_ONCE):
        writer.write(pa.Table.from_pylist([rows[r] for r in ordered[start : start + _AT_ONCE]], schema=SCHEMA))
    return writer.close()


def _write_facts(seen: _Seen, windows: Mapping[str, int], path: Path) -> FileArtifact:
    lines = []
    for record_id in sorted(windows, key=lambda r: (seen.entries[r].created, r)):
        one = seen.entries[record_id]
        e = one.with_feedback(seen.feedback.get(one.key) if one.key else None)
        file, number, sha256 = seen.where[record_id]
        lines.append({
            "record_id": record_id, "window": windows[record_id], "created": e.created, "latency": e.latency,
            "prompt_tokens": e.prompt_tokens, "completion_tokens": e.completion_tokens, "model": e.model,
            "failed": e.failed, "cut": e.cut, "feedback": e.feedback.verdict,
            "corrected": bool(e.feedback.correction), "consent": e.feedback.consent or "", "file": file,
            "line": number, "sha256": sha256,
        })  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(lines, schema=FACTS_SCHEMA), path, compression="zstd")
    return FileArtifact(path)


def _write_rejects(seen: _Seen, path: Path) -> FileArtifact:
    named = ("file", "line", "reason", "sha256")
    path.write_text("".join(json.dumps(dict(zip(named, b, strict=True))) + "\n" for b in sorted(seen.bad)))
    return FileArtifact(path)


def _report(
    seen: _Seen, windows: Mapping[str, int], kept: int, files: list[LogFile], config: LogsConfig, watch: Stopwatch
) -> StageReport:
    dropped = Counter(reason for _, reason in seen.dropped)
    sizes = Counter(windows.values())
    bad, warnings = len(seen.bad), []
    if bad:
        warnings.append(f"{bad:,} of {seen.lines:,} lines can't be read; log_rejects says which, and why.")
    notes = [f"A line is told by its bytes: {dropped[DUPLICATE]:,} stood in the files more than once."]
    if seen.unknown_feedback:
        notes.append(f"{seen.unknown_feedback:,} lines say something as feedback that is neither of the known words.")
    rows = tuple((f.name, f.bytes) for f in files[:60])
    return StageReport(
        stage="logs",
        rows_in=seen.lines,
        kept=kept,
        dropped=len(seen.dropped),
        dropped_by=dict(sorted(dropped.items())),
        counts={
            "requests per window, 0 the newest": {str(w): n for w, n in sorted(sizes.items())},
            "lines": {"that can't be read": bad, "files": len(files)},
        },
        tables=(Table(title="Files", columns=("file", "bytes read"), rows=rows),),
        warnings=tuple(warnings),
        notes=tuple(notes),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )
