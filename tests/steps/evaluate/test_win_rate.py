"""Whose answers a judge prefers: counts, rates, whom they are held against, what is asked and paid."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion
from support.scripted_subject import Scripted

from materializers import views
from ops.suites.before import faults
from pipelines.config import RunConfig
from steps.contracts.errors import ConfigError, ServiceError
from steps.contracts.evaluation import Evaluation, WinRates
from steps.contracts.models import CHAMPION
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate
from steps.evaluate.tasks import suite
from steps.evaluate.win_rate import win_rates

QUESTIONS = [f"{n}?" for n in range(8)]


def config(url: str, **more: Any) -> EvaluateConfig:
    judge = {"endpoint": {"base_url": url, "model": "m", "max_attempts": 1}, **more.pop("judge", {})}
    controls = [{"name": "general", "kind": "questions", "path": "q.jsonl"}]
    return EvaluateConfig.model_validate({"controls": controls, "judge": judge, "win_rate": more, "device": "cpu"})


def measured(folder: Path, name: str, answer: Callable[[str], str]) -> Evaluation:
    plain = EvaluateConfig.model_validate(config("http://127.0.0.1:1/v1").model_dump() | {"win_rate": None})
    tasks = suite(None, plain, folder)
    return evaluate(Scripted(name, answer), tasks, plain, folder, folder / name)


def questions(folder: Path) -> None:
    lines = [json.dumps({"question": q, "answer": "yes"}) for q in QUESTIONS]
    (folder / "q.jsonl").write_text("\n".join(lines))


def shown(body: dict[str, Any]) -> tuple[str, str]:
    row = json.loads(body["messages"][1]["content"].splitlines()[1])
    return row["A"][0]["content"], row["B"][0]["content"]


def likes(body: dict[str, Any]) -> Act:
    """good wins; of two that are fine the first place does; odd ones can't be read."""
    both = shown(body)
    if "odd" in both:
        return completion("hm")
    better = "A" if both[0] == "good" or "good" not in both else "B"
    return completion(json.dumps({"reason": "so", "better": better}))


@contextmanager
def serving(script: Callable[[dict[str, Any]], Act] = likes) -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda n, body: script(body)) as server:
        yield server


def said(*answers: str) -> Callable[[str], str]:
    return lambda question: answers[int(question.rstrip("?"))]


def found(value: WinRates) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    return {(d.subject, d.against): (d.wins, d.ties, d.losses, d.flips) for d in value.duels}


def test_wins_ties_losses_and_flips_by_hand(tmp_path: Path) -> None:
    questions(tmp_path)
    base = measured(tmp_path, "base", said(*["plain"] * 4, "good", "plain", "plain", "plain"))
    # Three wins, a tie of equal answers, a loss, two flips, one that can't be read.
    tuned = measured(tmp_path, "tuned", said("good", "good", "good", "plain", "long words", "fine", "neat", "odd"))
    with serving() as server:
        done = win_rates([base, tuned], "base", None, config(server.url), tmp_path, tmp_path / "cache")
        asked = len(server.bodies)
        again = win_rates([base, tuned], "base", None, config(server.url), tmp_path, tmp_path / "cache")
    (duel,) = done.duels
    assert (duel.task, duel.wins, duel.ties, duel.losses, duel.flips) == ("general", 3, 3, 1, 2)
    assert duel.undecided == {"not_json": 1}
    # (3 + 3 / 2) / 7; the better answer of "good" against "plain" and "long words" is the shorter one each time.
    assert duel.rate is not None and duel.rate.value == pytest.approx(4.5 / 7) and duel.rate.n == 7
    assert duel.rate.low < 4.5 / 7 < duel.rate.high and duel.longer == 0
    assert duel.p == pytest.approx(2 * 5 / 16)  # of 4 decided ones, 3 or more for one side
    # Of six that were asked about and could be read both orders named one answer in four, the first place in two; one
    # pair of equal answers wasn't asked about. The interval of 2 / 6 by hand: (2 + z^2 / 2 -+ z sqrt(4 / 3 + z^2 / 4))
    # / (6 + z^2).
    assert done.position is not None and done.position.chapter == "biases"
    assert [row[1] for row in done.position.rows] == [4, 0, 2, 0, 1, 6, 1]
    assert done.position.rows[2][2:] == (0.3333, 0.0968, 0.7)
    # Seven pairs differ, each asked about in both orders.
    assert asked == 14
    assert again.duels == done.duels and len(server.bodies) == asked
    assert done.spent is not None and again.spent is not None
    assert done.spent.rows[0][1:3] == (1400, 140) and again.spent.rows[0][1:3] == (0, 0)
    page = views.as_html(done)
    assert "3" in page and "general" in page and "not json" in page and "0 of 4" in page


def test_a_champion_is_another_opponent_unless_it_is_the_reference(tmp_path: Path) -> None:
    questions(tmp_path)
    base = measured(tmp_path, "base", lambda q: "plain")
    other = measured(tmp_path, CHAMPION, lambda q: "fine")
    tuned = measured(tmp_path, "tuned", lambda q: "good")
    same = Evaluation(base.report.model_copy(update={"subject": CHAMPION}), base.answers)
    with serving() as server:
        settings = config(server.url)
        three = win_rates([base, other, tuned], "base", None, settings, tmp_path, tmp_path / "cache")
        stand_in = win_rates([base, same, tuned], "base", None, settings, tmp_path, tmp_path / "cache")
    flips, wins = (0, 8, 0, 8), (8, 0, 0, 0)
    assert found(three) == {(CHAMPION, "base"): flips, ("tuned", "base"): wins, ("tuned", CHAMPION): wins}
    assert found(stand_in) == {("tuned", "base"): wins}
    # p of 8 wins is 2/256; Holm: three duels, two such.
    assert [d.p for d in three.duels] == pytest.approx([1.0, 3 * 2 / 256, 3 * 2 / 256])


def test_so_many_rows_and_what_is_told(tmp_path: Path) -> None:
    questions(tmp_path)
    both = [measured(tmp_path, "base", lambda q: "plain"), measured(tmp_path, "tuned", lambda q: "good")]
    with serving() as server:
        settings = config(server.url, max_rows=3, instructions="Be strict about lamps.")
        done = win_rates(both, "base", None, settings, tmp_path, tmp_path / "cache")
        assert len(server.bodies) == 6 and found(done)["tuned", "base"] == (3, 0, 0, 0)
        assert "Be strict about lamps." in server.bodies[0]["messages"][0]["content"]
        row = json.loads(server.bodies[0]["messages"][1]["content"].splitlines()[1])
    assert [m["role"] for m in row["conversation"]] == ["user"] and "yes" not in json.dumps(row)


def test_money_ends_it_and_is_told(tmp_path: Path) -> None:
    questions(tmp_path)
    both = [measured(tmp_path, "base", lambda q: "plain"), measured(tmp_path, "tuned", lambda q: "good")]
    prices = {"price_per_million_input": 1.0, "price_per_million_output": 1.0, "max_cost": 0.0}
    with serving() as server:
        done = win_rates(both, "base", None, config(server.url, judge=prices), tmp_path, tmp_path / "cache")
        assert not server.bodies
    assert done.duels[0].undecided == {"max_cost": 8} and done.duels[0].rate is None
    assert any("max_cost was reached: 8 pairs" in n for n in done.notes) and views.as_html(done)


def test_a_server_that_fails_says_nothing_about_answers(tmp_path: Path) -> None:
    questions(tmp_path)
    both = [measured(tmp_path, "base", lambda q: "plain"), measured(tmp_path, "tuned", lambda q: "good")]
    fails = Act(500)
    with (
        serving(lambda body: fails if "3?" in body["messages"][1]["content"] else likes(body)) as server,
        pytest.raises(ServiceError, match="1 comparisons got no reply: server_error"),
    ):
        win_rates(both, "base", None, config(server.url), tmp_path, tmp_path / "cache")


def test_answers_dont_leave_the_machine_unless_the_config_says_so(tmp_path: Path) -> None:
    questions(tmp_path)
    both = [measured(tmp_path, n, lambda q: "plain") for n in ("base", "tuned")]
    with pytest.raises(ConfigError, match=r"evaluate\.judge"):
        win_rates(both, "base", None, config("https://api.example.com/v1"), tmp_path, tmp_path / "cache")


def test_a_judge_is_needed() -> None:
    with pytest.raises(ValueError, match="win_rate asks a judge"):
        EvaluateConfig.model_validate({"win_rate": {}})


def test_what_would_stop_it_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    def told(url: str, **more: Any) -> list[str]:
        given = {"base": {"model": "toy"}, "registry": {"name": "a"}, "evaluate": config(url, **more).model_dump()}
        values = {"name": "x", "pipeline": "finetune", "dataset": "latest", **given}
        return [what for place, what, _ in faults(tmp_path, RunConfig.model_validate(values)) if "win_rate" in place]

    assert told("http://127.0.0.1:1/v1") == []
    assert "allow_raw_egress" in told("https://api.example.com/v1")[0]
    assert told("https://api.example.com/v1", judge={"allow_raw_egress": True}) == []
    assert "compare" in told("http://127.0.0.1:1/v1", rubric="quality")[0]
    assert "no such rubric" in told("http://127.0.0.1:1/v1", rubric="gone.yaml")[0]


def test_answers_that_were_only_probes_are_told(tmp_path: Path) -> None:
    questions(tmp_path)
    both = [measured(tmp_path, n, lambda q: "plain") for n in ("base", "tuned")]
    said_so = {"decoding": json.dumps({"probe_tokens": {"general": 64}})}
    cut = [Evaluation(e.report.model_copy(update=said_so), e.answers) for e in both]
    done = win_rates(cut, "base", None, config("http://127.0.0.1:1/v1"), tmp_path, tmp_path / "cache")
    assert found(done)["tuned", "base"] == (0, 8, 0, 0)
    assert "general: answers of 64 tokens at most" in done.notes[0]
