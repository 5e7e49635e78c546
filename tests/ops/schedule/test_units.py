"""Units as text: that they hold what they must, and that paths with odd characters stay whole."""

import configparser
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.schedule.units import crontab, systemd


def units(text: str) -> dict[str, configparser.ConfigParser]:
    """By file name."""
    found = {}
    for part in text.split("# ~/")[1:]:
        path, _, body = part.partition("\n")
        parser = configparser.ConfigParser(strict=True, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment]
        parser.read_string(body)
        found[Path(path).name] = parser
    return found


def test_units_of_systemd(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "50% of $state"))
    found = units(systemd(tmp_path))
    assert set(found) == {"assay-scheduler.service", "assay-check.service", "assay-check.timer"}
    service = found["assay-scheduler.service"]["Service"]
    assert service["ExecStart"].endswith('"-m" "ops.main" scheduler')
    assert (service["Restart"], service["KillMode"], service["UMask"]) == ("always", "process", "0077")
    assert int(service["TimeoutStopSec"]) > 60, "longer than the scheduler gives its runs"
    assert f'"ASSAY_STATE={tmp_path}/50%% of $$state"' in service["Environment"]
    assert found["assay-check.service"]["Service"]["ExecStart"].endswith("schedule check")
    assert found["assay-check.timer"]["Timer"]["OnCalendar"] == "*:0/15"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_itself_finds_nothing_wrong_with_them(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "50% of $state"))
    for part in systemd(tmp_path).split("# ~/.config/systemd/user/")[1:]:
        name, _, body = part.partition("\n")
        (tmp_path / name).write_text(body)

    def verified(*names: str) -> tuple[int, str]:
        done = subprocess.run(
            ["systemd-analyze", "--user", "--man=no", "verify", *(f"./{name}" for name in names)], cwd=tmp_path,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert verified("assay-scheduler.service", "assay-check.service", "assay-check.timer") == (0, "")
    (tmp_path / "bad.service").write_text("[Service]\nExecStart=/nosuch\nRestartt=always\n")
    status, said = verified("bad.service")
    assert status and "Restartt" in said, "it would have said so"


def test_lines_of_a_crontab_do_what_they_say(tmp_path, monkeypatch):
    root = tmp_path / "a 'quoted' 5% folder"
    root.mkdir()
    state = tmp_path / "state of $HOME"
    monkeypatch.setenv("ASSAY_STATE", str(state))
    first, second = crontab(root).splitlines()
    assert first.startswith("* * * * * ") and second.startswith("*/15 * * * * ")
    (state / "schedules").mkdir(parents=True, exist_ok=True)
    # As cron does: `\\%` is a percent sign. The shell then shows what it would run, and where.
    command = first.removeprefix("* * * * * ").replace("\\%", "%")
    instead = command.replace(" && ", " && pwd && set -- ", 1).partition(" >> ")[0]
    shown = subprocess.run(
        ["/bin/sh", "-c", f'{instead}; printf "%s\\n" "$@"'],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert shown[0] == str(root) and shown[1] == f"ASSAY_STATE={state}" and shown[-2:] == ["scheduler", "--until-idle"]
    assert shlex.split(command.partition(" >> ")[2])[0] == f"{state}/schedules/cron.log"
