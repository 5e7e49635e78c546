"""`assay judge ...`: the judge held against people."""

from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import Json, Overrides, root_folder

judge = typer.Typer(name="judge", no_args_is_help=True, help="The judge held against people's labels.")


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
