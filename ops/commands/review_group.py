"""`assay review`: rows set aside, decided about here or in another program."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ops.commands.options import Json, root_folder

_ROWS = "rows"


class _RowsUnlessNamed(TyperGroup):
    """`assay review RUN` is `assay review rows RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command there where none is."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [_ROWS, *args])


review = typer.Typer(
    name="review",
    cls=_RowsUnlessNamed,
    help="Decide about the rows that a run set aside; export and import take them to other programs and back.",
)

Run = Annotated[str | None, typer.Argument(help="name, id or a beginning of one; default: the newest")]
StageOf = Annotated[str | None, typer.Option("--stage", help="only rows that this stage set aside")]
Reason = Annotated[str, typer.Option(help="only rows with a reason that begins so, such as profanity")]
Decisions = Annotated[Path | None, typer.Option(help="file to add to; default: one in the run's folder")]
Again = Annotated[bool, typer.Option("--again", help="also rows that were decided about before")]
Raw = Annotated[bool, typer.Option("--raw", help="also rows that were never scrubbed")]


@review.command(_ROWS)
def rows(
    run: Run = None,
    stage: StageOf = None,
    reason: Reason = "",
    by: Annotated[str | None, typer.Option(help="who decides; default: the login name")] = None,
    decisions: Decisions = None,
    decide: Annotated[Path | None, typer.Option(help="take decisions from this JSON Lines file; ask nothing")] = None,
    again: Again = False,
    raw: Raw = False,
    json_output: Json = False,
) -> None:
    """Decide about the rows that a run set aside: accept, edit or drop. With --json alone: list them.

    `assay review export` and `assay review import` do it in Argilla or Label Studio.
    """
    from ops.commands.review import review_rows

    review_rows(root_folder(), run, stage, reason, by, decisions, decide, again, raw, json_output)


@review.command("export")
def export(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where the files go")],
    run: Run = None,
    program: Annotated[str, typer.Option("--to", help="argilla or label-studio")] = "label-studio",
    stage: StageOf = None,
    reason: Reason = "",
    decisions: Decisions = None,
    again: Again = False,
    raw: Raw = False,
    json_output: Json = False,
) -> None:
    """Write undecided rows as files that Argilla or Label Studio reads."""
    from ops.review.exchange.exchange import export_rows

    export_rows(_queue(run, decisions, stage, reason, again=again), program, out, raw, json_output)


@review.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Argilla's records as JSON, Label Studio's JSON or JSON-MIN")
    ],
    run: Annotated[str | None, typer.Option("--run", help="the run that was exported; default: the newest")] = None,
    least: Annotated[int, typer.Option(min=1, help="annotators that must have decided about a row")] = 1,
    gold: Annotated[
        Path | None, typer.Option(metavar="FILE", help="add ratings to this file of labels, for judge calibrate")
    ] = None,
    decisions: Decisions = None,
    again: Again = False,
    json_output: Json = False,
) -> None:
    """Take what annotators decided there: the word of most of them, as decisions of this command."""
    from ops.review.exchange.exchange import import_rows

    import_rows(_queue(run, decisions, None, "", again=again), file, least, gold, json_output)


def _queue(run: str | None, decisions: Path | None, stage: str | None, reason: str, *, again: bool) -> Any:
    from ops.review.guard import Guard
    from ops.review.queue import ReviewQueue, decisions_path
    from ops.run_index import find_run, run_config

    root = root_folder()
    record = find_run(root, run)
    guard = Guard(root, run_config(root, record))
    return ReviewQueue(root, record, decisions or decisions_path(root, record), guard, stage, reason, again)
