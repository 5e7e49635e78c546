"""A deployment when its commands are killed, and when two change it at once; with a real server, and MLflow's."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.processes import command, ended, python
from support.walk import commands, walk

from ops.deploy import processes, state
from tests.ops.deploy.conftest import QUICK, living, told
from tests.ops.deploy.test_deploy import BASE, TUNED, says

_QUICK = f"""
import sys
from ops.deploy import deploy as _module
_module._command = lambda server: [
    sys.executable, {str(QUICK)!r}, str(server.port), server.name, server.digest, server.model, "ok",
]
"""


def deploying(place, *arguments, before=""):
    return python(command("deploy", *arguments, before=_QUICK + before), place / "state")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "asked"),
    [("wait_until_up", "base"), ("smoke_test", "base"), ("state.write", "base"), ("_with_front", "tuned")],
)
def test_a_killed_command_leaves_one_that_is_asked(place, how, where, asked):
    url = told("deploy", BASE)["url"]
    killing = f"import os, signal\n_module.{where} = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
    status, said = ended(deploying(place, TUNED, before=killing))
    assert status == -signal.SIGKILL, said
    assert says(url) == asked and living(place) == (2, 1)
    # Whoever comes next ends the one that nobody asks.
    told("deploy", "--again")
    assert says(url) == asked and living(place) == (1, 1)
    told("deploy", TUNED)
    assert says(url) == "tuned" and living(place) == (1, 1)


@pytest.mark.slow
def test_of_two_at_once_the_later_is_asked(place, how):
    url = told("deploy", BASE)["url"]
    both = [deploying(place, name) for name in (BASE, TUNED, TUNED)]
    assert [ended(p)[0] for p in both] == [0, 0, 0]
    there = state.read(place / "state/deployments/default")
    assert there.url == url and says(url) == there.current.model.rpartition("/")[2] and living(place) == (1, 1)


@pytest.mark.slow
def test_ctrl_c_and_sigterm_end_the_new_one(place, how):
    url = told("deploy", BASE)["url"]
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        waiting = "_module.wait_until_up = lambda *a: __import__('time').sleep(600)\n"
        process = deploying(place, TUNED, before=waiting)
        while living(place)[0] < 2:
            assert process.poll() is None
        os.kill(process.pid, number)
        assert ended(process)[0] == status
        assert says(url) == "base" and living(place) == (1, 1)


@pytest.mark.slow
def test_a_real_model_is_served_and_exchanged(place):
    """By `assay serve`: the names of the weights that answer are the recorded ones."""
    digests = {}
    for name in (BASE, TUNED):
        made = told("deploy", name, "--as", "shop", "--set", "device=cpu")
        with urllib.request.urlopen(f"{made['url']}/v1/models") as reply:
            listed = json.loads(reply.read())["data"]
        assert [m["id"] for m in listed] == ["shop"]
        digests[name] = (listed[0]["digest"], made["current"]["digest"])
    assert all(a == b for a, b in digests.values()) and digests[BASE] != digests[TUNED]
    adapter = next((place / "work/store").rglob("adapter_model.safetensors"))
    raw = bytearray(adapter.read_bytes())
    raw[-1] ^= 1
    adapter.write_bytes(raw)
    told("deploy", "--previous", "--as", "shop")
    refused = subprocess.run(
        [sys.executable, "-m", "ops.main", "deploy", "--previous", "--as", "shop"], capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(QUICK.parents[2])}, cwd=QUICK.parents[2],
    )  # fmt: skip
    assert refused.returncode == 5 and "stored bytes have SHA-256" in refused.stderr, refused.stderr
    assert living(place, "shop") == (1, 1)


@pytest.mark.slow
def test_commands_of_the_docs(tmp_path: Path) -> None:
    said = walk(commands("serving.md", "Deployed"), tmp_path, "/tmp/deployed")
    folder = tmp_path / "state/deployments/mails"
    try:
        told_of = [text for command, text in said.items() if command.startswith("assay deploy")]
        assert "by mlflow" in told_of[0] and "by serve" in told_of[1] and "by mlflow" in told_of[2]
        assert all("3 questions answered, twice alike" in text for text in told_of[:3])
    finally:
        processes.end(processes.running(folder), 5)
    assert not processes.running(folder)
