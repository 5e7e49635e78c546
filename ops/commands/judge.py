"""`assay judge ...`: the judge held against people, and against hostile rows."""

from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import Json, Overrides, root_folder

judge = typer.Typer(name="judge", no_args_is_help=True, help="The judge held against people and hostile rows.")


@judge.command("label")
def label(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="run whose judged rows are sampled; default: the newest")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="file of labels to add to")] = Path("gold.jsonl"),
    files: Annotated[
        list[str] | None, typer.Option("--from", metavar="FILE", help="label rows of files instead of a run's")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="rows of the sample")] = 100,
    seed: Annotated[int, typer.Option(help="of the sample: the same one gives the same rows")] = 0,
    pairs: Annotated[bool, typer.Option("--pairs", help="say which of two answers is better")] = False,
    criteria: Annotated[
        str, typer.Option(metavar="NAME,...", help="also ask for scores by criterion, such as relevance,accuracy")
    ] = "",
    proportional: Annotated[
        bool, typer.Option("--proportional", help="of what was kept, dropped and set aside as the run has it")
    ] = False,
    by: Annotated[str | None, typer.Option(help="who labels; default: the login name")] = None,
    again: Annotated[bool, typer.Option("--again", help="also rows that you have labelled")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="also show rows that were never scrubbed")] = False,
) -> None:
    """Label rows by hand, blind to what the judge said: gold for `assay judge calibrate`."""
    from ops.judging.label import label_rows
    from ops.judging.sampling import Wanted

    wanted = Wanted(rows, seed, pairs, proportional, raw)
    names = [name.strip() for name in criteria.split(",") if name.strip()]
    label_rows(root_folder(), run, files or [], out, wanted, names, by, again=again)


@judge.command("calibrate")
def calibrate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="run config whose judge is meant")],
    gold: Annotated[Path, typer.Argument(metavar="GOLD", help="labels: JSON Lines, CSV, or assay review's decisions")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where the figures go, as JSON and as a page")] = Path(
        "calibration"
    ),
    run: Annotated[
        str | None, typer.Option(help="run whose rows are meant by id; default: the newest of the config")
    ] = None,
    precision: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="share of good rows wanted of those that are kept")
    ] = 0.9,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Say how far a run's judge agrees with labels, and which threshold keeps rows of a wanted precision."""
    from ops.judging.calibrate import calibrate_judge

    calibrate_judge(root_folder(), config, gold, overrides or [], run, precision, out, json_output)


@judge.command("red-team")
def red_team(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="run config whose judge is meant")],
    max_raised: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0.0, max=1.0, help="fail if attacks raise more of the scores by a point or more"
        ),
    ] = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Show how far rows that try to talk a judge round raise its scores: each beside the same row without the try."""
    from ops.judging.red_team import red_team_judge

    red_team_judge(root_folder(), config, overrides or [], max_raised, json_output)
