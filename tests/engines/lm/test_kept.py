"""An evaluation that was killed goes on where it was: only what is missing is asked."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from steps.contracts.models import ModelFolder
from steps.engines.lm.decoder import Decoder
from steps.engines.lm.kept import kept_answers
from steps.engines.subjects.local_model import Inference, local_model
from steps.engines.subjects.subject import Prompt

ROOT = Path(__file__).resolve().parents[3]
CPU = Inference(device="cpu", batch_size=1)
PROMPTS = [Prompt(f"What is {n}? " + "and " * (n % 5), "x") for n in range(14)]
ROOM = 12


@pytest.fixture(autouse=True)
def four_at_a_time(monkeypatch):
    monkeypatch.setattr("steps.engines.lm.generate._DECODED_ROWS", 4)


class StoppedError(Exception):
    """Of a test."""


def asked_of(monkeypatch: pytest.MonkeyPatch, after: int | None = None) -> list[tuple[int, ...]]:
    """The prompts that are put to the decoder from now on; the one after so many ends the process, as it were."""
    found: list[tuple[int, ...]] = []
    join = Decoder.join

    def spied(self, asked) -> None:
        for one in asked:
            if after is not None and len(found) >= after:
                raise StoppedError
            found.append(tuple(one.ids))
        join(self, asked)

    monkeypatch.setattr(Decoder, "join", spied)
    return found


def answer(model: ModelFolder, folder: Path | None, inference: Inference = CPU):
    with local_model("any", model, None, inference, folder) as subject:
        return subject.answer(PROMPTS, ROOM)


@pytest.mark.slow
def test_only_what_is_missing_is_asked_and_the_answers_are_the_same(tiny_model, tmp_path, monkeypatch) -> None:
    expected = answer(tiny_model, None)
    with monkeypatch.context() as patch:
        first = asked_of(patch, after=10)
        with pytest.raises(StoppedError):
            answer(tiny_model, tmp_path)
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_text().splitlines()
    assert len(lines) == 8 and file.stat().st_mode & 0o077 == 0
    assert not any(str(n) in line for line in lines for n in ("What", "model"))
    # A line that a crash tore, one that somebody changed, and one that is nothing at all.
    changed = json.loads(lines[3])
    changed[1][0] += 1
    file.write_text("\n".join([*lines[:3], json.dumps(changed), *lines[4:7], "[]", lines[7][:20]]))
    with monkeypatch.context() as patch:
        second = asked_of(patch)
        found = answer(tiny_model, tmp_path)
    assert found.texts == expected.texts and found.tokens.at_hand == 6
    assert found.notes == ("6 answers are of an evaluation that was interrupted",)
    assert len(second) == 8 and len(first) == 10 and not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        again = asked_of(patch)
        answer(tiny_model, tmp_path)
    assert len(again) == 14, "what has come to its end is kept by its report"


@pytest.mark.slow
def test_another_model_or_way_of_decoding_has_answers_of_its_own(tiny_model, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        asked_of(patch, after=10)
        with pytest.raises(StoppedError):
            answer(tiny_model, tmp_path)
        with pytest.raises(StoppedError):
            answer(tiny_model, tmp_path, Inference(device="cpu", batch_size=3))
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    with kept_answers(tmp_path / "x", {"a": 1}) as kept:
        kept.add([1, 2], 5, [3])
        assert kept.get([1, 2], 5) is None, "its own are no earlier ones"
    with pytest.raises(StoppedError), kept_answers(tmp_path / "x", {"a": 1}) as kept:
        kept.add([1, 2], 5, [3])
        raise StoppedError
    with kept_answers(tmp_path / "x", {"a": 1}) as kept:
        assert (kept.get([1, 2], 5), kept.get([1, 2], 6), kept.get([1], 5)) == ([3], None, None)


def test_answers_outlive_the_machine_where_state_does(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ASSAY_STATE_URI", str(tmp_path / "lasting"))
    for machine in ("one", "two"):
        monkeypatch.setenv("ASSAY_STATE", str(tmp_path / machine))
        with pytest.raises(StoppedError), kept_answers(tmp_path / machine / "answers", {"a": 1}) as kept:
            assert kept.get([1], 5) == ([3] if machine == "two" else None)
            kept.add([1], 5, [3])
            kept.settle()
            raise StoppedError
    with kept_answers(tmp_path / "two" / "answers", {"a": 1}) as kept:
        assert kept.get([1], 5) == [3]
    assert not [p for p in (tmp_path / "lasting").rglob("*") if p.is_file()]


@pytest.mark.slow
def test_a_kill_in_the_middle(tiny_model, tmp_path) -> None:
    program = f"""
        import os, signal, sys
        from pathlib import Path
        from steps.engines.lm import generate
        from steps.engines.lm.decoder import Decoder
        from steps.engines.lm.references import local_reference
        from steps.engines.subjects.local_model import Inference, local_model
        from steps.engines.subjects.subject import Prompt
        generate._DECODED_ROWS = 4
        step, steps = Decoder.step, 0
        def killed(self):
            global steps
            steps += 1
            if steps == int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)
            step(self)
        Decoder.step = killed
        prompts = [Prompt(f"What is {{n}}? ", "x") for n in range(12)]
        with local_model("any", local_reference(Path({str(tiny_model.path)!r})), None,
                         Inference(device="cpu", batch_size=1), Path({str(tmp_path)!r})) as subject:
            found = subject.answer(prompts, {ROOM})
        print(found.tokens.at_hand, found.texts)
    """

    def run(steps: int) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", textwrap.dedent(program), str(steps)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    expected = run(0).stdout.split(" ", 1)
    assert expected[0] == "0"
    for steps, _ in ((15, 4), (15, 8)):
        assert run(steps).returncode == -signal.SIGKILL
    found = run(0).stdout.split(" ", 1)
    assert found == ["8", expected[1]]
