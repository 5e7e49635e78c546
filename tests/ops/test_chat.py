"""`assay chat`: conversations of several turns, pipes, and answers that would do something to the terminal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import modelled_run
from support.stored_run import StoredRun
from typer.testing import CliRunner

from ops.commands import chat
from ops.found_models import find_model
from ops.main import app
from ops.serving.desk import Desk, End
from ops.talk import Manner, Talk
from steps.contracts.errors import InputError
from steps.contracts.models import ModelFolder
from steps.engines.lm.transcript import Piece
from steps.engines.subjects.local_model import Inference

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r[red]gone\u202e\nsecond\x9b1A"
SHOWN = "�[2J�]0;owned��[red]gone�"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: ModelFolder) -> StoredRun:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return modelled_run.build(tmp_path / "work", tiny_model)


@pytest.mark.slow
def test_every_line_of_a_pipe_is_a_prompt_of_its_own(run: StoredRun) -> None:
    lines = "What is it?\n\n" + "too long " * 300 + "\nWhat is it?\n"
    done = CliRunner().invoke(
        app, ["chat", "run:shop", "--against", "run:shop/base", "--max-tokens", "9", "--json"], input=lines
    )
    assert done.exit_code == 3, done.output
    first, long, again = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert first == again and first["prompt"] == "What is it?"
    tuned, base = first["answers"]
    assert (tuned["model"], base["model"]) == ("run:shop", "run:shop/base") and tuned["text"] != base["text"]
    assert tuned["completion_tokens"] == 9 and tuned["finish_reason"] == "length"
    assert all("the model's context 512: there is no room to answer" in a["error"] for a in long["answers"])
    assert CliRunner().invoke(app, ["chat", "run:shop", "--against", "run:shop"], input="").exit_code == 2

    # One whose turns depend on those before.
    model = find_model(ROOT, "run:shop")
    with Desk({"m": (model.base, model.tuned)}, Inference(device="cpu")) as desk:
        talk = Talk("m", desk, Manner(most=9))
        pieces: list[str] = []
        one = talk.ask("What is it?", lambda p: pieces.append(p.text))
        assert "".join(pieces) == one.text == tuned["text"]
        two = talk.ask("And now?", lambda _: None)
        assert two.prompt > one.prompt + one.completion
        assert [m["role"] for m in talk.said] == ["user", "assistant"] * 2
        with pytest.raises(InputError, match="no room"):
            talk.ask("too long " * 300, lambda _: None)
        assert len(talk.said) == 4
        talk.reset()
        assert talk.ask("And now?", lambda _: None).prompt < two.prompt
        told = Talk("m", desk, Manner("Be brief.", most=2)).ask("What is it?", lambda _: None)
        assert told.prompt > one.prompt and told.cut


class Spoken(Talk):
    """Says the same whatever it is asked."""

    def __init__(self, name: str) -> None:
        self.name, self.asked, self.resets = name, list[str](), 0

    def reset(self) -> None:
        self.resets += 1

    def ask(self, prompt: str, hear) -> End:
        self.asked.append(prompt)
        if prompt == "stop":
            raise KeyboardInterrupt
        if prompt == "fail":
            raise InputError("not this")
        hear(Piece(reasoning="hm\x1b[A"))
        for character in HOSTILE:
            hear(Piece(text=character))
        return End(HOSTILE, "hm\x1b[A", 3, 4, cut=True)


@contextmanager
def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> Iterator[None]:
    waiting = iter(lines)

    def read(_: str) -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    yield
    assert next(waiting, None) is None


@pytest.mark.parametrize("names", [("one",), ("one", "two \x1b[2J")])
def test_what_a_model_says_moves_no_cursor(names, monkeypatch, capsys) -> None:
    talks = [Spoken(name) for name in names]
    with typed(monkeypatch, "Hello", "", "stop", "fail", "/reset", "/what", "again"):
        assert chat._in_person(talks) == 0
    out, err = capsys.readouterr()
    assert talks[0].asked == ["Hello", "stop", "fail", "again"] and {t.resets for t in talks} == {1}
    assert not any(c in out for c in "\x1b\x07\x9b\r\u202e") and out.count(SHOWN) == 2 * len(names)
    assert "second�1A" in out and "hm�[A" in out and "not this" in err and "(not said, and not kept)" in out


def test_a_pipe_shows_no_more_than_text(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stdin", iter(["Hello\n", "fail\n"]))
    assert chat._from_pipe([Spoken("one")], False) == 3
    assert capsys.readouterr().out == f"> Hello\n{SHOWN}\n  second�1A\n> fail\n(not this)\n"
