"""The first rows that ingest rejected, per reason, for the terminal: place and cause, no text of theirs."""

from itertools import groupby

from ops.console import say
from steps.contracts.reports import StageReport


def say_rejected(report: StageReport) -> None:
    """Say why rows were rejected and where the first of each reason stand; nothing where none was."""
    from steps.ingest.record_sink import REJECTED

    counts = report.counts.get("rows rejected per reason", {})
    found = [e for e in report.examples if e.reason.startswith(REJECTED)]
    for label, examples in groupby(found, lambda e: e.reason):
        first = list(examples)
        rows = counts.get(reason := label.removeprefix(REJECTED), len(first))
        such_as = ", such as" if rows > len(first) else ""
        say(f"rejected: {reason}, {rows:,} {'row' if rows == 1 else 'rows'}{such_as}")
        for example in first:
            say(f"  {example.text}")
