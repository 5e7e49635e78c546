"""The options of `assay schedule ...`. What each does lies in modules that are imported when it is called."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ops.commands.options import Json, Overrides, root_folder

schedule = typer.Typer(name="schedule", no_args_is_help=True, help="Run configs when they are due.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="name of the schedule")]
Cron = Annotated[
    str | None, typer.Option(help="five fields, such as '30 2 * * *' or '0 9 * * MON-FRI'; or @daily, @hourly ...")
]
Zone = Annotated[
    str | None, typer.Option(help="time zone that --cron is meant in, such as Europe/Berlin; default: UTC")
]
Stack = Annotated[str | None, typer.Option(help="as --stack of assay run")]
Infra = Annotated[str | None, typer.Option(help="as --infra of assay run")]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="scheduler|service|STACK",
        help="what fires it: assay's scheduler (default), or the clock of a stack's orchestrator: of the runs' own"
        " (service), or of another by its name",
    ),
]
CatchUp = Annotated[
    Literal["none", "latest", "all"] | None,
    typer.Option(help="slots that nobody could start in time: none run, the newest does, or all do; default: latest"),
]
Overlap = Annotated[
    Literal["skip", "queue", "allow"] | None,
    typer.Option(help="a slot that is due while another one runs: skipped, or one waits; default: skip"),
]
Lateness = Annotated[
    str | None, typer.Option(metavar="TIME", help="so late may a slot start; default: 1h, or until the next slot")
]
IfChanged = Annotated[
    bool | None, typer.Option("--if-changed/--always", help="skip a slot when nothing that it reads has changed")
]
OnChange = Annotated[
    list[str] | None,
    typer.Option(
        "--on-change",
        metavar="PATH|URL|monitor:CONFIG",
        help="a slot also comes when this changes, or that config's runs ask for it",
    ),
]
Fresh = Annotated[
    str | None, typer.Option(metavar="TIME", help="tell when the newest result is older than this, such as 26h")
]
Timeout = Annotated[str | None, typer.Option(metavar="TIME", help="end an attempt that takes longer, such as 6h")]
Retries = Annotated[int | None, typer.Option(min=0, max=20, help="further attempts after one that failed; default: 0")]
Backoff = Annotated[
    str | None, typer.Option(metavar="TIME", help="wait before the first of them, then twice as long; default: 1m")
]
Alerts = Annotated[
    list[str] | None,
    typer.Option(
        "--alert",
        metavar="CHANNEL",
        help="command:PROGRAM, webhook:VARIABLE, slack:VARIABLE, email:MAILBOX[:VARIABLE] or stack",
    ),
]
AlertOn = Annotated[
    list[str] | None,
    typer.Option("--alert-on", metavar="KIND", help="tell only of failure, gate, drift, missed or stale; default: all"),
]


def _given(**options: Any) -> dict[str, Any]:
    """What was said on the command line."""
    return {name: value for name, value in options.items() if value is not None}


@schedule.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of its own: lower-case letters, digits, - and _")],
    config: Annotated[Path, typer.Argument(help="what to do: a file of configs/runs/")],
    cron: Cron = None,
    tz: Zone = None,
    stack: Stack = None,
    infra: Infra = None,
    overrides: Overrides = None,
    on: On = None,
    catchup: CatchUp = None,
    overlap: Overlap = None,
    max_lateness: Lateness = None,
    if_changed: IfChanged = None,
    on_change: OnChange = None,
    fresh_within: Fresh = None,
    timeout: Timeout = None,
    retries: Retries = None,
    backoff: Backoff = None,
    alert: Alerts = None,
    alert_on: AlertOn = None,
    json_output: Json = False,
) -> None:
    """Keep a schedule; `assay scheduler` serves it, or the service that --on names."""
    from ops.schedule.desk import add_schedule

    given = _given(
        cron=cron, tz=tz, stack=stack, infra=infra, overrides=overrides, on=on, catchup=catchup, overlap=overlap,
        max_lateness=max_lateness, if_changed=if_changed, on_change=on_change, fresh_within=fresh_within,
        timeout=timeout, retries=retries, backoff=backoff, alerts=alert, alert_on=alert_on,
    )  # fmt: skip
    add_schedule(root_folder(), name, config, given, json_output)


@schedule.command()
def edit(
    name: Name,
    config: Annotated[Path | None, typer.Option(help="another config")] = None,
    cron: Cron = None,
    tz: Zone = None,
    stack: Stack = None,
    infra: Infra = None,
    overrides: Overrides = None,
    catchup: CatchUp = None,
    overlap: Overlap = None,
    max_lateness: Lateness = None,
    if_changed: IfChanged = None,
    on_change: OnChange = None,
    fresh_within: Fresh = None,
    timeout: Timeout = None,
    retries: Retries = None,
    backoff: Backoff = None,
    alert: Alerts = None,
    alert_on: AlertOn = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="OPTION", help="back to its default, such as timeout")
    ] = None,
    json_output: Json = False,
) -> None:
    """Change a schedule from now on; what came before stays as it was meant then."""
    from ops.schedule.desk import edit_schedule

    given = _given(
        config=config, cron=cron, tz=tz, stack=stack, infra=infra, overrides=overrides, catchup=catchup,
        overlap=overlap, max_lateness=max_lateness, if_changed=if_changed, on_change=on_change,
        fresh_within=fresh_within, timeout=timeout, retries=retries, backoff=backoff, alerts=alert,
        alert_on=alert_on,
    )  # fmt: skip
    edit_schedule(root_folder(), name, given, unset or [], json_output)


@schedule.command("list")
def list_all(json_output: Json = False) -> None:
    """The schedules: when each is next due, and what became of its last slot."""
    from ops.schedule.views import list_schedules

    list_schedules(root_folder(), json_output)


@schedule.command()
def show(name: Name, json_output: Json = False) -> None:
    """One schedule: its policy, its next five slots, its last ones and how late they started."""
    from ops.schedule.views import show_schedule

    show_schedule(root_folder(), name, json_output)


@schedule.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="name of the schedule; default: all")] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many slots, newest first")] = 20,
    versions: Annotated[bool, typer.Option("--versions", help="what the schedule was, and since when")] = False,
    json_output: Json = False,
) -> None:
    """One line per slot: ran, failed, skipped, missed or paused, why, and its run; also of removed schedules."""
    from ops.schedule.views import show_history, show_versions

    if versions and name is not None:
        show_versions(root_folder(), name, json_output)
    elif versions:
        raise typer.BadParameter("--versions is of one schedule: give its NAME")
    else:
        show_history(root_folder(), name, limit, json_output)


@schedule.command()
def pause(name: Name) -> None:
    """Start nothing any more by itself; what runs goes on, and slots that come are paused ones, not missed ones."""
    from ops.schedule.desk import pause_schedule

    pause_schedule(root_folder(), name)


@schedule.command()
def resume(name: Name) -> None:
    """Go on with the next slot; none of the pause is made up for."""
    from ops.schedule.desk import resume_schedule

    resume_schedule(root_folder(), name)


@schedule.command("run-now")
def run_now(name: Name, json_output: Json = False) -> None:
    """Ask for a slot of this moment, whatever the clock says; the scheduler starts it."""
    from ops.schedule.desk import ask_now

    ask_now(root_folder(), name, json_output)


@schedule.command()
def backfill(
    name: Name,
    first: Annotated[str, typer.Option("--from", metavar="TIME", help="first moment, such as 2026-03-01")],
    last: Annotated[str, typer.Option("--to", metavar="TIME", help="last moment; a day alone is taken whole")],
    reprocess: Annotated[
        Literal["none", "failed", "completed"],
        typer.Option(help="only slots that never ran; also those that failed; also those that ran"),
    ] = "none",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the slots; run nothing")] = False,
    json_output: Json = False,
) -> None:
    """Run slots of the past, one after the other, beside what the clock brings."""
    from ops.schedule.desk import backfill_schedule

    backfill_schedule(root_folder(), name, first, last, reprocess, dry_run, json_output)


@schedule.command()
def check(json_output: Json = False) -> None:
    """Look from outside whether all is well, and send the alerts that are due: for a crontab line, or a timer."""
    from ops.schedule.desk import check_from_outside

    check_from_outside(root_folder(), json_output)


@schedule.command()
def export(
    form: Annotated[Literal["systemd", "cron"], typer.Option("--as", help="units of systemd, or lines of a crontab")],
) -> None:
    """Print what keeps a scheduler, and the look from outside, running on this machine."""
    from ops.schedule.units import print_units

    print_units(root_folder(), form)


@schedule.command()
def remove(name: Name) -> None:
    """End a schedule; what runs goes on, and its history stays."""
    from ops.schedule.desk import remove_schedule

    remove_schedule(root_folder(), name)
