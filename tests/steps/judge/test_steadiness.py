"""What a judge is asked beside the rows: some once more, and the same few in every run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion, verdict
from support.textrows import chat, dataset, document

from steps.contracts.context import StageContext
from steps.contracts.errors import IntegrityError
from steps.contracts.outcome import Outcome
from steps.judge.biases.drift import shift
from steps.judge.biases.empty_rows import CONTENTS
from steps.judge.biases.probe_log import FILE, Probed, ProbeLog
from steps.judge.biases.probe_rows import _ROWS, probe_cases
from steps.judge.biases.repeats import Repeats
from steps.judge.checks_config import MOST_PROBES
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge

ROWS = [chat(f"Question {n}?", f"Answer {n}.") for n in range(8)]
PROBES = {question for question, _ in _ROWS}


def config(url: str = "http://127.0.0.1:1/v1", model: str = "m", **more: Any) -> JudgeConfig:
    endpoint = {"base_url": url, "model": model, "max_attempts": 1, "concurrency": more.pop("concurrency", 8)}
    return JudgeConfig(**{"backend": "llm", "endpoint": endpoint, "max_undecided_share": 1.0, **more})


def run(
    script: Callable[[int, dict[str, Any]], Act],
    folder: Path,
    run_id: str,
    rows: Any = ROWS,
    model: str = "m",
    **more: Any,
) -> tuple[Outcome, list[dict[str, Any]]]:
    with ScriptedServer(script) as server:
        ctx = StageContext(folder / run_id, cache=folder / "cache", scrubbed=True, run=run_id)
        outcome = judge(dataset(rows, folder / run_id / "in"), config(server.url, model, **more), ctx)
    return outcome, server.bodies


def asked(body: dict[str, Any]) -> str:
    return str(json.loads(body["messages"][1]["content"].splitlines()[1])["conversation"][0]["content"])


def table(outcome: Outcome, title: str) -> Any:
    return next((t.rows for t in outcome.report.tables if t.title == title), None)


def test_nothing_is_asked_unless_it_is_wanted(tmp_path: Path) -> None:
    outcome, bodies = run(lambda n, body: completion(verdict(5)), tmp_path, "r1")
    assert len(bodies) == len(ROWS) and not (tmp_path / "cache" / FILE).exists()
    assert table(outcome, "Asked again") is None and table(outcome, "Drift on the probe rows") is None


def test_rows_asked_again_are_counted_paid_for_and_decide_nothing(tmp_path: Path) -> None:
    seen: list[str] = []

    def script(n: int, body: dict[str, Any]) -> Act:
        again = asked(body) in seen
        seen.append(asked(body))
        return completion(
            "hm" if again and seen.count(asked(body)) == 2 and len(seen) == 9 else verdict(2 if again else 5)
        )

    outcome, bodies = run(
        script, tmp_path, "r1", checks={"repeats": 5}, price_per_million_input=1000, price_per_million_output=0
    )
    assert len(bodies) == 8 + 5 and outcome.report.kept == 8
    (line,) = table(outcome, "Asked again")
    # One of the five could not be read.
    assert line[:4] == ("m", 4, 1, 0.0) and line[6] == 0.0 and line[8] == -0.6
    spent = table(outcome, "Tokens and cost")[0]
    assert spent[1] == 13 * 100 and spent[3] == pytest.approx(1.3)
    # What was asked once more isn't asked a third time, and the figures are the same.
    again, bodies = run(script, tmp_path, "r2", checks={"repeats": 5})
    assert not bodies and table(again, "Asked again") == (line,)
    # More of them begin with the same ones.
    _, bodies = run(script, tmp_path, "r3", checks={"repeats": 7})
    assert len(bodies) == 2


def test_agreement_with_itself_by_hand() -> None:
    repeats = Repeats(config(), {"first": "m"})
    pairs = [((5, 5), (5, 5))] * 6 + [((5, 4), (4, 4))] * 2 + [((1, 1), (5, 5))] * 2
    for one, other in pairs:
        first, then = ({"first": dict(zip(("b", "a"), s, strict=True))} for s in (one, other))
        repeats.add(first, then)
    repeats.add({"first": "timeout"}, {"first": {"a": 1}})
    (line,) = repeats.tables()[0].rows
    metrics = pytest.importorskip("sklearn.metrics")
    first, then = ([s for pair in pairs for s in pair[i]] for i in (0, 1))
    assert line[1:4] == (10, 1, 0.6) and line[6] == 0.8
    assert line[7] == pytest.approx(
        metrics.cohen_kappa_score(first, then, labels=range(1, 6), weights="quadratic"), abs=1e-4
    )
    assert line[8] == pytest.approx((2 * -0.1 + 2 * 0.8) / 10, abs=1e-4)
    assert repeats.warnings() == ("m, asked again, decides otherwise about 2 of 10 rows.",)


def test_a_server_that_answers_otherwise_is_found(tmp_path: Path) -> None:
    checks = {"probes": 10}
    first, bodies = run(lambda n, body: completion(verdict(5)), tmp_path, "r1", checks=checks)
    assert len(bodies) == 8 + 10 and sum(asked(b) in PROBES for b in bodies) == 10
    assert table(first, "Drift on the probe rows") is None
    assert "judged for the first time" in first.report.notes[-1]
    # The rows are known, the probes are asked anew; nothing has changed.
    same, bodies = run(lambda n, body: completion(verdict(5)), tmp_path, "r2", checks=checks)
    assert len(bodies) == 10 and not [w for w in same.report.warnings if "probe" in w]
    assert [line[2:] for line in table(same, "Drift on the probe rows")] == [("nothing", 10, 0.0, 0.0, 0.0, 0)]

    def milder(n: int, body: dict[str, Any]) -> Act:
        return completion(verdict(4 if len(asked(body)) % 2 else 3))

    other, _ = run(milder, tmp_path, "r3", checks=checks)
    (warning,) = [w for w in other.report.warnings if "probe" in w]
    assert "with the same settings, so that the server answers otherwise" in warning
    odd = sum(len(c.messages[0]["content"]) % 2 for c in probe_cases("conversation", 10))
    changes = [-0.2] * odd + [-0.4] * (10 - odd)
    stats = pytest.importorskip("scipy.stats")
    low, high = stats.t.interval(0.95, 9, np.mean(changes), stats.sem(changes))
    (line,) = table(other, "Drift on the probe rows")
    assert line[4:7] == pytest.approx((np.mean(changes), low, high), abs=1e-4) and line[7] == 10 - odd
    # A run that is taken up again asks nothing again, and isn't compared with itself.
    resumed, bodies = run(milder, tmp_path, "r3", checks=checks)
    assert not bodies and table(resumed, "Drift on the probe rows")[0][2:] == line[2:]


def test_another_model_is_compared_with_the_last_run_and_with_its_own(tmp_path: Path) -> None:
    for number, (model, score) in enumerate((("a", 5), ("b", 4)), 1):
        run(lambda n, body, s=score: completion(verdict(s)), tmp_path, f"r{number}", model=model, checks={"probes": 4})
    third, _ = run(lambda n, body: completion(verdict(5)), tmp_path, "r3", model="a", checks={"probes": 4})
    lines = table(third, "Drift on the probe rows")
    assert [(line[2], line[4]) for line in lines] == [("model (it was b)", 0.2), ("nothing", 0.0)]
    assert len([w for w in third.report.warnings if "another model (it was b)" in w]) == 1
    told, _ = run(
        lambda n, body: completion(verdict(5)),
        tmp_path,
        "r4",
        model="a",
        checks={"probes": 4},
        instructions="Be strict.",
    )
    assert table(told, "Drift on the probe rows")[0][2] == "prompt"


def test_each_judge_of_a_jury_has_its_own_drift(tmp_path: Path) -> None:
    def script(scores: dict[str, int]) -> Callable[[int, dict[str, Any]], Act]:
        return lambda n, body: completion(verdict(scores[body["model"]]))

    for number, two in enumerate((5, 3), 1):
        with ScriptedServer(script({"m": 5, "n": two})) as server:
            jury = {"others": [{"name": "two", "endpoint": {"base_url": server.url, "model": "n"}}]}
            ctx = StageContext(tmp_path / str(number), cache=tmp_path / "cache", scrubbed=True, run=str(number))
            asks = config(server.url, jury=jury, checks={"probes": 5, "repeats": 3})
            outcome = judge(dataset(ROWS, tmp_path / f"in{number}"), asks, ctx)
        # Of the first run the replies on the rows are kept.
        assert len(server.bodies) == (2 * (8 + 3 + 5) if number == 1 else 2 * 5)
    assert [(line[0], line[4]) for line in table(outcome, "Drift on the probe rows")] == [("m", 0.0), ("n", -0.4)]
    assert [line[:4] for line in table(outcome, "Asked again")] == [("m", 3, 0, 1.0), ("n", 3, 0, 1.0)]


def test_money_that_is_spent_ends_the_checks_not_the_run(tmp_path: Path) -> None:
    more = {"price_per_million_input": 1000, "price_per_million_output": 0, "max_cost": 3.0, "concurrency": 1}
    outcome, bodies = run(
        lambda n, body: completion(verdict(5)), tmp_path, "r1", checks={"repeats": 8, "probes": 20}, **more
    )
    assert 8 < len(bodies) < 36 and outcome.report.rows_in == 8
    decided = [n for n in outcome.report.notes if "probe rows" in n and "have a verdict" in n]
    assert decided and not outcome.report.undecided


def probe(scores: dict[str, float], run_id: str = "r", **more: Any) -> Probed:
    said = {name: {"clarity": s, "accuracy": s} for name, s in scores.items()}
    given = {
        "id": run_id, "asked_at": "2026-01-01T00:00:00+00:00", "run": run_id, "judge": "first", "about": "x",
        "model": "m", "decoding": "d", "settings": "s", "scores": json.dumps(said), **more,
    }  # fmt: skip
    return Probed(**given)


def test_only_probes_that_both_have_are_compared() -> None:
    before = probe({"a": 5, "b": 4, "c": 3, "d": 1})
    found = shift(probe({"a": 4, "b": 3, "c": 2, "e": 5}), before, config())
    assert found is not None and found.share.n == 3 and found.share.value == pytest.approx(-0.2)
    assert (found.share.low, found.share.high) == (pytest.approx(-0.2), pytest.approx(-0.2)) and found.decided == 1
    assert shift(probe({"a": 4, "b": 3}), before, config()) is None and shift(probe({}), before, config()) is None


def test_the_log_is_shared_and_says_when_it_is_broken(tmp_path: Path) -> None:
    file = tmp_path / FILE
    with ProbeLog(file) as one, ProbeLog(file) as two:
        one.keep(probe({"a": 5}, "r1"))
        two.keep(probe({"a": 4}, "r2", settings="t", asked_at="2026-01-02T00:00:00+00:00"))
        now = probe({"a": 3}, "r3")
        assert [p.run for p in one.earlier(now)] == ["r2", "r1"] == [p.run for p in two.earlier(now)]
        two.keep(probe({"a": 1}, "r2", settings="t", asked_at="2026-01-02T00:00:00+00:00"))
        assert one.earlier(now)[0].by_probe["a"]["clarity"] == 1
        assert not one.earlier(probe({"a": 3}, "r3", about="y")) and not one.earlier(probe({}, "r3", judge="two"))
    raw = bytearray(file.read_bytes())
    raw[:64] = b"\0" * 64
    file.write_bytes(raw)
    with pytest.raises(IntegrityError, match="record of probe rows"):
        ProbeLog(file)


def test_probe_rows_are_spread_and_different() -> None:
    assert len(_ROWS) == MOST_PROBES
    for count in (1, 7, 20):
        cases = probe_cases("conversation", count)
        assert len({c.content_id for c in cases}) == count == len(cases)
    assert all(c.text and c.has_answer for c in probe_cases("document", 20))


def test_checks_that_cant_be() -> None:
    local = {"backend": "local", "local": {"model": "m"}}
    for wrong, told in (
        ({"checks": {"empty_rows": 1}}, "and none does"),
        ({"checks": {"repeats": 1}}, "none judges"), ({"checks": {"repeats": 1}, **local}, "none judges"),
        ({"checks": {"probes": 1}}, "not for backend heuristic"), ({"checks": {"probes": 21}}, "equal to 20"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            JudgeConfig.model_validate(wrong)


def test_a_judge_that_is_not_trusted_or_says_nothing_leaves_no_probes(tmp_path: Path) -> None:
    run(lambda n, body: completion("hm" if asked(body) in PROBES else verdict(5)), tmp_path, "r1", checks={"probes": 5})
    after, _ = run(lambda n, body: completion(verdict(5)), tmp_path, "r2", checks={"probes": 5})
    assert table(after, "Drift on the probe rows") is None and "first time" in after.report.notes[-1]


def of_nothing(body: dict[str, Any]) -> bool:
    return asked(body) in CONTENTS


def test_rows_that_say_nothing_show_a_liking_for_a_number_and_are_paid_once(tmp_path: Path) -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        if not of_nothing(body):
            return completion(verdict(5 if "3" in asked(body) else 4))
        return completion("hm" if asked(body) == "null" else verdict(3 if asked(body) == "N/A" else 4))

    more: dict[str, Any] = {"checks": {"empty_rows": 6}, "threshold": 0.75, "price_per_million_output": 0}
    outcome, bodies = run(script, tmp_path, "r1", price_per_million_input=1000, **more)
    assert sum(map(of_nothing, bodies)) == 6 and len(bodies) == 8 + 6
    lines = table(outcome, "Rows that say nothing")
    assert [line[2] for line in lines] == ["relevance", "clarity", "completeness", "accuracy"] * 2
    # Five could be read: a 3 and four 4s; of the eight rows one has a 5.
    assert {line[:2] + line[3:] for line in lines[:4]} == {("m", "empty, conversation", 5, 0, 0, 0.2, 0.8, 0, 3.8)}
    assert {line[:2] + line[3:] for line in lines[4:]} == {("all", "of this run", 8, 0, 0, 0, 0.875, 0.125, 4.125)}
    assert [t.chapter for t in outcome.report.tables if t.title == "Rows that say nothing"] == ["biases"]
    assert [w for w in outcome.report.warnings if "nothing" in w] == [
        "m would keep 4 of 5 rows that say nothing (conversation): its scores owe less to the rows than they seem to."
    ]
    assert "m: of 6 rows that say nothing (conversation) 5 have a verdict." in outcome.report.notes
    assert table(outcome, "Tokens and cost")[0][3] == pytest.approx(1.4) and outcome.report.rows_in == 8
    again, bodies = run(script, tmp_path, "r2", price_per_million_input=1000, **more)
    assert not bodies and table(again, "Rows that say nothing") == lines


def test_each_judge_that_answers_in_words_is_asked_about_each_kind_of_row(tmp_path: Path) -> None:
    rows = [*ROWS[:2], document("A text.")]
    with ScriptedServer(lambda n, body: completion(verdict(2 if body["model"] == "m" else 5))) as server:
        jury = {"others": [{"name": "two", "endpoint": {"base_url": server.url, "model": "n"}}]}
        ctx = StageContext(tmp_path / "out", cache=tmp_path / "cache", scrubbed=True, run="r")
        asks = config(server.url, jury=jury, checks={"empty_rows": 2})
        outcome = judge(dataset(rows, tmp_path / "in"), asks, ctx)
    assert len(server.bodies) == 2 * (3 + 2 + 2)
    lines = table(outcome, "Rows that say nothing")
    assert [line[:3] + line[-1:] for line in lines if line[2] == "clarity"] == [
        ("m", "empty, conversation", "clarity", 2.0), ("m", "empty, document", "clarity", 2.0),
        ("n", "empty, conversation", "clarity", 5.0), ("n", "empty, document", "clarity", 5.0),
        ("all", "of this run", "clarity", 3.5),
    ]  # fmt: skip
    assert [line[1] for line in lines if line[2] == "relevance"] == ["empty, conversation"] * 2 + ["of this run"]
    assert [w.partition(" would")[0] for w in outcome.report.warnings if "nothing" in w] == ["n", "n"]
