"""A training as it is shown: by name, on the terminal, as a page, over HTTP; also of text that is hostile."""

import http.client
import io
import os
import re
import shutil
import subprocess
import threading

import pytest
from rich.console import Console

from ops.commands import watch as command
from ops.watch.page import render_watch
from ops.watch.serve import page_server
from ops.watch.terminal import drawn, sparkline, state_of
from ops.watch.watched import find_watched, watched_run
from steps.contracts.errors import InputNotFoundError, ServiceError
from steps.contracts.locks import locked
from steps.train.watching.journal import Journal

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202eevil [bold]x[/]\nsecond"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    return tmp_path


def journal(root, run, stage="train", *, ended=True, steps=30):
    made = Journal(root / "state" / "watch" / run / f"{stage}.jsonl")
    made.add("started", stage=stage, total=steps, resumed_at=0)
    for step in range(10, steps + 1, 10):
        values = {"loss": 4.0 - step / 10, "learning_rate": 1e-4, "seconds_left": 90.0, "memory_mb": 512.0}
        made.add("metrics", step=step, values=values)
        made.add("metrics", step=step, values={"eval_loss": 5.0 - step / 10, "eval_accuracy": step / 100})
    made.add("sample", step=0, prompt="old", answer="old")
    made.add("sample", step=steps, prompt=HOSTILE, answer=HOSTILE, cut=True)
    made.add("warning", what=HOSTILE)
    if ended:
        made.add("ended", status="failed", step=steps, error=HOSTILE)
    return made


def terminal(root, run):
    out = Console(width=120, record=True, file=io.StringIO())
    out.print(drawn(watched_run(root, run)))
    return out.export_text()


def test_the_run_that_was_written_to_last_is_meant_or_one_by_its_beginning(root):
    with pytest.raises(InputNotFoundError, match="no training of any run was seen"):
        find_watched(root, None)
    journal(root, "one-2026")
    os.utime(journal(root, "two-2026").path, (2**32, 2**32))
    assert find_watched(root, None) == "two-2026"
    assert find_watched(root, "one") == "one-2026"
    with pytest.raises(InputNotFoundError):
        find_watched(root, "three")


def test_the_terminal_shows_numbers_and_lines_and_no_control_character(root):
    journal(root, "a")
    said = terminal(root, "a")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", said)
    assert "[bold]x[/]" in said
    assert re.search(r"training loss +1 +█▅▁", said)
    assert re.search(r"accuracy \(validation\) +0.3 +▁▅█", said)
    assert "samples at step 30" in said
    assert "» old" not in said


def test_a_phase_says_how_far_it_is_and_when_nothing_comes_any_more(root):
    journal(root, "a", ended=False)
    (phase,) = watched_run(root, "a").phases
    assert state_of(phase, phase.last + 1) == "train: step 30 of 30, 1 min 30 s left"
    assert "nothing new for 5 min 0 s, so it hangs, or its process is gone" in state_of(phase, phase.last + 300)
    assert watched_run(root, "a").goes_on


def test_a_line_of_many_values_is_as_long_as_there_is_room():
    assert sparkline([]) == ""
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert len(sparkline(list(map(float, range(1000))))) <= 56
    assert sparkline(list(map(float, range(1000))))[-1] == "█"


def test_the_page_holds_text_as_text_and_loads_itself_again_only_while_something_comes(root):
    journal(root, "a")
    page = render_watch(watched_run(root, "a"), live=True)
    assert "<script" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page)
    assert 'http-equiv="refresh"' not in page
    assert page.count("<svg") == 4
    assert "Fit: still learning" in page
    journal(root, "b", ended=False)
    assert 'http-equiv="refresh" content="5"' in render_watch(watched_run(root, "b"), live=True)
    assert "refresh" not in render_watch(watched_run(root, "b"), live=False)


def asked(port, path="/", host=None):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = client.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def test_the_page_is_served_anew_each_time_on_this_machine_alone_and_under_its_own_name_only(root):
    count = iter(range(10))
    with page_server(lambda: f"page {next(count)}", 0) as server:
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert asked(port)[:2] == (200, "page 0")
        assert asked(port, host=f"localhost:{port}")[:2] == (200, "page 1")
        assert asked(port, "/etc/passwd")[0] == 404
        assert asked(port, host="evil.example")[0] == 421
        assert asked(port)[2]["Cache-Control"] == "no-store"
        with pytest.raises(ServiceError, match="can't listen"):
            page_server(str, port)
        server.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_in_a_browser(root, tmp_path):
    journal(root, "a", ended=False)
    file = tmp_path / "page.html"
    file.write_text(render_watch(watched_run(root, "a"), live=False))
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", file.as_uri()]
    done = subprocess.run(["chromium", *words], capture_output=True, text=True, timeout=120, check=True)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in done.stdout
    assert "<svg" in done.stdout


def test_a_run_that_trains_nothing_yet_is_waited_for_and_none_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    answers = iter([InputNotFoundError("no training"), InputNotFoundError("no training"), "a-run"])

    def find(root, wanted):
        found = next(answers)
        if isinstance(found, str):
            return found
        raise found

    monkeypatch.setattr(command, "find_watched", find)
    monkeypatch.setattr(command, "_EVERY_SECONDS", 0.0)
    with pytest.raises(InputNotFoundError):
        command._waited_for(tmp_path, None)
    (tmp_path / "state" / "locks").mkdir(parents=True)
    with locked(tmp_path / "state" / "locks" / "a.lock"):
        monkeypatch.setattr(command, "is_held", lambda file: file.name == "a.lock")
        assert command._waited_for(tmp_path, None) == "a-run"
    said = capsys.readouterr()
    assert (said.out + said.err).count("a run goes on") == 1
