"""What keeps a scheduler alive on a machine without a cluster: units of systemd, or lines of a crontab, as text."""

import shlex
from pathlib import Path

from ops.schedule.attempts import ASSAY
from ops.schedule.table import schedules_folder
from steps.zenml_runtime.state import state_folder

# Chosen: what looks from outside does so every quarter of an hour.
_EVERY = 15


def print_units(root: Path, form: str) -> None:
    """Print them."""
    print(crontab(root) if form == "cron" else systemd(root), end="")


def systemd(root: Path) -> str:
    """Three user units, each under the line with its file's name."""
    environment = f'Environment="ASSAY_ROOT={_unit(root)}" "ASSAY_STATE={_unit(state_folder(root))}"'
    command = " ".join(f'"{_unit(part)}"' for part in ASSAY)
    return f"""\
# ~/.config/systemd/user/assay-scheduler.service
[Unit]
Description=assay scheduler
After=network-online.target

[Service]
Type=exec
WorkingDirectory={_unit(root)}
{environment}
# Keys, passwords and URLs that runs and alerts need, a NAME=value per line; readable by its owner only.
EnvironmentFile=-%h/.config/assay/environment
ExecStart={command} scheduler
Restart=always
RestartSec=10
# It ends its runs itself when it is told to; runs of one that died are found by the next.
KillMode=process
TimeoutStopSec=90
UMask=0077

[Install]
WantedBy=default.target

# ~/.config/systemd/user/assay-check.service
[Unit]
Description=assay: is all well with the schedules?

[Service]
Type=oneshot
WorkingDirectory={_unit(root)}
{environment}
EnvironmentFile=-%h/.config/assay/environment
ExecStart={command} schedule check

# ~/.config/systemd/user/assay-check.timer
[Timer]
OnCalendar=*:0/{_EVERY}
Persistent=true

[Install]
WantedBy=timers.target
"""


def crontab(root: Path) -> str:
    """Two lines: a scheduler each minute, that ends when nothing is due or runs, and the look from outside.

    Which slots are due is the table's to say, not cron's: zones, daylight saving and what was missed are as everywhere.
    """
    where = f"cd {_shell(root)} && ASSAY_STATE={_shell(state_folder(root))}"
    command = " ".join(_shell(part) for part in ASSAY)
    log = _shell(schedules_folder(root) / "cron.log")
    return (
        f"* * * * * {where} {command} scheduler --until-idle >> {log} 2>&1\n"
        f"*/{_EVERY} * * * * {where} {command} schedule check >> {log} 2>&1\n"
    )


def _unit(value: object) -> str:
    """A value in a unit: `%` and `$` mean something there, so do quotes."""
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("%", "%%").replace("$", "$$")


def _shell(value: object) -> str:
    """A word in a crontab's line, where `%` ends the command."""
    return shlex.quote(str(value)).replace("%", "\\%")
