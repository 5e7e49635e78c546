"""`assay serve` as a process: where it listens, what it says, how it ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from support import modelled_run
from typer.testing import CliRunner

from ops.main import app
from steps.contracts.models import ModelFolder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: ModelFolder):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return modelled_run.build(tmp_path / "work", tiny_model)


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen, openai.OpenAI, list[str]]]:
    command = [sys.executable, "-m", "ops.main", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "serving " in line:
                break
        url = said[-1].split(" at ")[1].strip()
        try:
            yield process, openai.OpenAI(base_url=url, api_key="-", max_retries=0), said
        finally:
            process.terminate()
            said += process.communicate()[1].splitlines(keepends=True)


@pytest.mark.slow
def test_it_ends_on_sigterm_when_what_has_begun_is_answered(run) -> None:
    with serving("run:shop", "--as", "shop", "--adapter", "plain=run:shop/base") as (process, client, said):
        assert [m.id for m in client.models.list()] == ["shop", "plain"]
        messages = [{"role": "user", "content": "What is it?"}]
        stream = client.chat.completions.create(model="shop", messages=messages, max_tokens=450, stream=True)
        pieces = [next(stream), next(stream)]
        reader = threading.Thread(target=lambda: pieces.extend(stream))
        reader.start()
        process.send_signal(signal.SIGTERM)
        reader.join(60)
        assert pieces[-1].choices[0].finish_reason == "length"
        assert process.wait(30) == 0
        with pytest.raises(openai.APIConnectionError):
            client.models.list()
    assert "stopped; 1 requests were answered" in said[-1]


@pytest.mark.slow
def test_it_says_who_can_reach_it(run) -> None:
    with serving("run:shop", "--host", "0.0.0.0") as (process, client, _):
        warning = process.stderr.readline()
        assert "warning: whoever reaches this machine at 0.0.0.0 can ask it, without a key" in warning
        assert client.models.list().data[0].id == "run:shop"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("run:none",), 3, "no run 'none'"),
        (("run:shop", "--adapter", "plain"), 2, "--adapter NAME=MODEL"),
        (("run:shop", "--as", "a", "--adapter", "a=run:shop/base"), 2, "two models are called a"),
        (("run:shop", "--set", "dtpye=float16"), 2, "dtype"),
        (("run:shop", "--host", "203.0.113.7"), 5, "can't listen on 203.0.113.7"),
    ],
)
def test_what_cannot_be_served_is_said(run, arguments, status, words) -> None:
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert done.exit_code == status and words in " ".join(done.output.split())
