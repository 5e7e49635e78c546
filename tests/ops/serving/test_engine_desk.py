"""The desk over an engine that answers as it is told: who is told of a death, who waits, what ends it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from ops.serving.desk import MOST_WAITING, End, FullError, Question
from ops.serving.engine_desk import EngineDesk
from ops.serving.requests import asked_row
from steps.contracts.errors import IntegrityError, ServiceError
from steps.engines.completions.completer import Wanted
from steps.engines.lm.transcript import Piece, Transcript
from steps.engines.subjects.subject import Asked, Prompt
from steps.engines.template.reasoning import Markers


class Letters:
    """A tokenizer of one token per character."""

    def decode(self, ids, **_) -> str:
        return "".join(map(chr, ids))


class Writer:
    def prompts(self, rows) -> Asked:
        return Asked([Prompt(str(row["messages"][0]["content"]), "") for row in rows])

    def tokens(self, prompt) -> tuple[list[int], int]:
        return [ord(c) for c in prompt.text], 10

    def transcript(self, prompt, stops) -> Transcript:
        return Transcript(Letters(), Markers(), prompt.text, stops)


class Scripted:
    """Says "abc" to everything; a prompt with "wait" in it waits for `go`, one with "die" ends the process."""

    name, room, parallel = "scripted", 24, 2

    def __init__(self, starts: int = 99) -> None:
        self.go, self.begun, self.ended = threading.Event(), threading.Semaphore(0), threading.Event()
        self.starts, self.heard = starts, list[Wanted]()

    def start(self) -> "Scripted":
        if not self.starts:
            raise IntegrityError("it can't")
        self.starts -= 1
        self.ended.clear()
        return self

    def wait(self) -> int:
        self.ended.wait()
        return -9

    def stop(self) -> None:
        self.ended.set()

    def complete(self, wanted: Wanted, listener, gone: Callable[[], bool]) -> None:
        self.heard.append(wanted)
        self.begun.release()
        prompt = "".join(map(chr, wanted.ids))
        while "wait" in prompt and not self.go.wait(0.01):
            if self.ended.is_set():
                raise ServiceError("the engine's answer has no end")
            if gone():
                return
        if "die" in prompt:
            listener.hear_text("ab", 2)
            self.ended.set()
            raise ServiceError("the engine's answer has no end")
        if wanted.piecewise:
            listener.hear_text("abc", 3)
        else:
            any(listener.hear(ord(c)) for c in "abc")


def ask(desk: EngineDesk, text: str, **more):
    told, done = [], threading.Event()

    def tell(one) -> None:
        told.append(one)
        if not isinstance(one, Piece):
            done.set()

    job = desk.ask(Question("m", asked_row([{"role": "user", "content": text}]), 10, **more), tell)
    return job, told, done


def ended(prompt: str, said: str, by_ids: bool = False) -> End:
    """An answer of three tokens, of which the ids are known where it was heard by them."""
    ids = (97, 98, 99) if by_ids else ()
    return End(said, None, len(prompt), 3, False, [ord(c) for c in prompt], ids)


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


def test_answers_are_told_whole_or_in_pieces_up_to_a_stop_sequence(engine: Scripted) -> None:
    with EngineDesk(engine, lambda: {"m": Writer()}) as desk:
        found = []
        for more in ({}, {"pieces": True}, {"stops": ("c",)}):
            _, told, done = ask(desk, "x", **more)
            assert done.wait(5)
            found.append(told)
        assert found[0] == [ended("x", "abc", True)]
        assert found[1] == [Piece("", "abc"), ended("x", "abc")]
        assert found[2] == [ended("x", "ab")]
        assert desk.answered == 3 and [w.piecewise for w in engine.heard] == [False, True, True]


def test_what_has_no_room_beside_the_others_waits_in_its_turn(engine: Scripted) -> None:
    with EngineDesk(engine, lambda: {"m": Writer()}) as desk:
        first, _, _ = ask(desk, "wait")  # 4 + 10 of 24
        assert engine.begun.acquire(timeout=5)
        _, _, done = ask(desk, "x")  # 11: not beside it
        _, told, later = ask(desk, "wait")
        time.sleep(0.05)
        assert (desk.answering, desk.waiting) == (1, 2) and not done.is_set()
        first.gone.set()
        assert done.wait(5)
        engine.go.set()
        assert later.wait(5) and told == [ended("wait", "abc", True)]


def test_a_death_fails_what_is_under_way_and_what_waits_is_answered_by_the_next_one(engine: Scripted) -> None:
    with EngineDesk(engine, lambda: {"m": Writer()}) as desk:
        _, told, done = ask(desk, "wait and die now", pieces=True)
        assert engine.begun.acquire(timeout=5)
        _, others, answered = ask(desk, "x")
        engine.go.set()
        assert done.wait(5) and answered.wait(5)
        assert told[:-1] == [Piece("", "ab")] and isinstance(told[-1], ServiceError)
        assert others == [ended("x", "abc", True)] and desk.alive and engine.starts == 97


def test_one_that_dies_again_and_again_or_does_not_start_any_more_is_given_up(engine: Scripted) -> None:
    for engine_of_this, words, left in ((engine, "has ended 3 times within 60 s, last with status -9", 96),
                                        (Scripted(starts=1), "it can't", 0)):  # fmt: skip
        with EngineDesk(engine_of_this, lambda: {"m": Writer()}) as desk:
            dead = threading.Event()
            desk.when_dead = dead.set
            while not dead.wait(0.01):
                with suppress(ServiceError):
                    ask(desk, "die")
                time.sleep(0.01)
            assert words in str(desk.failed) and engine_of_this.starts == left and not desk.alive
            with pytest.raises(ServiceError, match="scripted doesn't run any more"):
                ask(desk, "x")


def test_more_than_may_wait_are_refused_and_an_end_lets_all_go(engine: Scripted) -> None:
    with EngineDesk(engine, lambda: {"m": Writer()}) as desk:
        jobs = [ask(desk, "wait")[0]]
        assert engine.begun.acquire(timeout=5)
        jobs += [ask(desk, "wait")[0] for _ in range(MOST_WAITING)]
        with pytest.raises(FullError):
            ask(desk, "x")
    assert all(job.gone.is_set() for job in jobs) and not desk.alive


def test_one_that_never_starts_says_so() -> None:
    with pytest.raises(IntegrityError, match="it can't"), EngineDesk(Scripted(starts=0), lambda: {}):
        pass
