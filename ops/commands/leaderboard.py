"""`assay leaderboard`: all that was ever evaluated, task by task."""

from dataclasses import asdict
from pathlib import Path

from markupsafe import Markup

from materializers import views
from ops.console import complain, console, emit, print_whole, say
from ops.leaderboard import boards
from ops.summary import as_text
from steps.contracts.errors import InputNotFoundError
from steps.contracts.storage import write_whole

# What intervals of different models say of each other, and what they don't.
_NOTE = "Intervals that overlap tell no two models apart; assay compare holds them against each other row by row."


def show_leaderboard(root: Path, task: str | None, metric: str | None, out: Path | None, json_output: bool) -> None:
    """Print the boards, or write them as a page.

    Raises:
        InputNotFoundError: nothing was evaluated, or nothing of this task and metric.
    """
    found, unread = boards(root, task, metric)
    for line in unread:
        complain(f"not read: {line}")
    if not found:
        wanted = " ".join(filter(None, (task and f"of the task {task}", metric and f"by {metric}")))
        raise InputNotFoundError(
            f"no evaluation {wanted}".rstrip(), where="assay leaderboard", hint="assay run, or assay compare"
        )
    if out is not None:
        body = Markup("<p>{}</p>").format(_NOTE) + Markup("").join(views.fragment(b.table) for b in found)
        write_whole(out, views.document(body, title="assay: leaderboard", heading="Leaderboard"))
    if json_output:
        emit(
            [asdict(b) | {"entries": [asdict(e) | {"metric": e.metric.model_dump()} for e in b.entries]} for b in found]
        )
        return
    for board in found:
        print_whole(console(), as_text(board.table))
        say()
    say(_NOTE if out is None else f"written: {out}")
