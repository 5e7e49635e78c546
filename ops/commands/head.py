"""`assay head` and `assay sample`: rows to look at."""

from pathlib import Path

from ops.console import emit, heading, say
from ops.reading import Reading
from ops.row_samples import Choice, Sample, Samples, dropped_samples, samples_of_files, version_samples
from ops.run_index import find_run
from ops.versions import find_version
from steps.contracts.errors import ConfigError
from steps.contracts.records import Row

# Chosen: a turn of a usual length is shown whole, a book isn't.
_LONGEST = 600
_RAW = "its text was never scrubbed; --raw shows it"
_GONE = "no version of the run has its text: it went in the stage that read or made it"


def show_rows(
    root: Path,
    target: str,
    stage: str | None,
    dropped: str | None,
    reading: Reading,
    choice: Choice,
    whole: bool,
    json_output: bool,
) -> None:
    """Show rows of a run or dataset version, or of a file, folder, glob or URL. `whole`: texts are not cut.

    Raises:
        InputNotFoundError: there is no such run, file, version or row. ConfigError: options that don't go together.
    """
    if _is_file(target):
        if stage or dropped is not None:
            raise ConfigError("a file has no stages: --stage and --dropped are for runs", where=target)
        found = samples_of_files([target], reading, choice)
    else:
        if reading.options:
            raise ConfigError("a run's rows are read already", where=reading.options, hint="leave it out")
        found = _of_run(root, target, stage, dropped, choice)
    if json_output:
        rows = [{"record_id": s.record_id, "why": s.why, "row": s.row} for s in found.samples]
        emit({"from": found.where, "of": found.of, "rows": rows, "rejected": found.rejected})
        return
    for sample in found.samples:
        _show(sample, whole)
    _tell_end(found)


def _is_file(target: str) -> bool:
    # What a run can't be called.
    return any(sign in target for sign in "/*?.") or Path(target).exists()


def _of_run(root: Path, target: str, stage: str | None, dropped: str | None, choice: Choice) -> Samples:
    if dropped is None:
        return version_samples(find_version(root, target, stage), choice)
    run = find_run(root, target)
    return dropped_samples(root, run, stage, dropped, choice)


def _show(sample: Sample, whole: bool) -> None:
    row = sample.row
    heading(" · ".join(p for p in (sample.record_id, sample.why, _place(row)) if p))
    if row is None:
        say(f"  ({_GONE if sample.gone else _RAW})")
        return
    if row["kind"] == "document":
        say(_indented(row["text"] or "", whole))
    for side, messages in (("", row["messages"]), ("chosen ", row["chosen"]), ("rejected ", row["rejected"])):
        for m in messages:
            untrained = ", not trained" if m.get("weight") == 0 else ""
            thought = f"(thinks: {m['reasoning']})\n" if m.get("reasoning") else ""
            calls = f"\ncalls {m['tool_calls']}" if m.get("tool_calls") else ""
            text = _indented(thought + m["content"] + calls, whole).removeprefix(" ")
            say(f"  {side}{m['role']}{untrained}:{text}")


def _place(row: Row | None) -> str:
    if row is None:
        return ""
    more = [row["split"] or "", f"label {row['label']}" if row.get("label") is not None else ""]
    return " · ".join(p for p in (row["kind"], f"{row['source']} {row['locator']}", *more) if p)


def _indented(text: str, whole: bool) -> str:
    """So that no line of a text stands where the program's own do."""
    if not whole and len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} … ({len(text):,} characters; --whole shows all)"
    return "  " + text.replace("\n", "\n    ")


def _tell_end(found: Samples) -> None:
    shown = len(found.samples)
    more = f" of {found.of:,}" if found.of > shown else ""
    say(f"{shown} row{'' if shown == 1 else 's'}{more}: {' '.join(found.where.split())}")
    if found.rejected:
        why = ", ".join(f"{reason} {n}" for reason, n in sorted(found.rejected.items()))
        say(f"not shown, since they can't be read: {why} (`assay stage ingest` says of each row why)")
