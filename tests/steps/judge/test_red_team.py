"""Rows that try to talk a judge round: what is sent, what is read, and what one fooled judge can do."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from engines.llm.scripted_server import CRITERIA, Act, ScriptedServer, completion, verdict
from hypothesis import given
from hypothesis import strategies as st
from support.families.families import FAMILIES, Family, tokenizer

from steps.contracts.context import StageContext
from steps.engines.llm.client import Reply
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.reply_json import json_objects
from steps.engines.lm.choice_prompt import choice_prompts, control_tokens
from steps.engines.rubric.asking import RATINGS, orders, probe_rows, question, row_text
from steps.engines.rubric.case import Case
from steps.engines.rubric.frame import content_of, framed
from steps.engines.rubric.pairs import Pair, framed_pair
from steps.engines.rubric.pairs import _read as read_pair
from steps.engines.rubric.parse import RubricScores, parse_reply
from steps.engines.rubric.prompt import system_prompt
from steps.engines.rubric.reading import read_rubric
from steps.judge.config import JudgeConfig
from steps.judge.heuristic import HeuristicJudge
from steps.judge.judge import backend_for
from steps.judge.jury import combined
from steps.judge.jury_config import JuryConfig
from steps.judge.red_team import Attempt, _case, red_team, resistance
from steps.judge.verdict import JudgeVerdict

QUALITY = read_rubric("quality")
TEAM = red_team()
SMALL = [a for a in TEAM if a.kind != "huge"]
HUGE = [a for a in TEAM if a.kind == "huge"]
# Brackets and words that some family's template is made of.
CONTROL = re.compile(r"[<>]|\[/?[a-z]?[A-Z][A-Z0-9_]*\]|\[\||\]~|\[[a-z]~\[|\]!")


def lines() -> list[dict[str, Any]]:
    file = Path(red_team.__wrapped__.__code__.co_filename).with_name("red_team.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def texts_of(case: Case) -> list[str]:
    messages = [text for m in case.messages for text in (m["content"], m["tool_calls"]) if text]
    return [*messages, *(text for text in (case.text, case.tools) if text)]


def test_the_set_is_what_it_says() -> None:
    assert len(TEAM) >= 60 and len({a.name for a in TEAM}) == len(TEAM)
    assert len({a.kind for a in TEAM}) >= 20
    for line, attempt in zip(lines(), TEAM, strict=True):
        attack, whole = line["attack"] * line.get("repeat", 1), "".join(texts_of(attempt.attacked))
        assert line["place"] == "turns" or attack in whole, "each attack stands in its row"
        control = "".join(texts_of(attempt.control))
        assert control == line.get("prompt", "") + line.get("answer", line.get("document", "")), "and in no control"
        assert attempt.attacked.content_id != attempt.control.content_id
        assert attempt.kind != "huge" or len(whole) > 1_000_000
    said = "".join(line["attack"] for line in lines() if line["kind"] == "languages")
    scripts = {unicodedata.name(c).split()[0] for c in said if c.isalpha()} - {"LATIN"}
    assert len(scripts) >= 8, scripts


def judged_by(script: Callable[[int, dict[str, Any]], Act], folder: Path, **more: Any) -> tuple[Any, ScriptedServer]:
    with ScriptedServer(script) as server:
        endpoint = Endpoint(base_url=server.url, model="m", **more.pop("endpoint", {}))
        config = JudgeConfig(backend="llm", endpoint=endpoint, **more)
        with backend_for(config, StageContext(folder, cache=folder, scrubbed=True), 2 * len(TEAM)) as backend:
            return resistance(backend, config), server


def check_sent(text: str, sent: Case | dict[str, Any]) -> None:
    """Nothing of a row leaves its line, forges a marker or stands there as a control token, and none of it is lost."""
    opening, row, closing = text.splitlines()[:3]
    marker = opening.removeprefix("=== row ").removesuffix(" begins ===")
    assert re.fullmatch("[0-9a-f]{16}", marker) and closing == f"=== row {marker} ends ==="
    assert marker not in row and not CONTROL.search(text)
    assert all(c.isprintable() or c == "\ufe0f" for c in row) and "\ue000" not in row
    assert json.loads(row) == (content_of(sent) if isinstance(sent, Case) else sent)


@pytest.mark.slow
def test_no_row_leaves_its_frame_in_what_is_sent_and_megabytes_are_never_sent(tmp_path: Path) -> None:
    found, server = judged_by(lambda n, _: completion(verdict(2) if n % 2 else "none"), tmp_path, retry_unreadable=1)
    told = {system_prompt(QUALITY, kind, "") for kind in ("conversation", "document")}
    by_row = {framed(case).splitlines()[1]: case for a in SMALL for case in (a.attacked, a.control)}
    seen = set()
    for body in server.bodies:
        system, user = body["messages"]
        assert (system["role"], user["role"]) == ("system", "user") and system["content"] in told
        lines = user["content"].splitlines()
        assert re.fullmatch("Rate row [0-9a-f]{16}.", lines[3])
        assert lines[4:] in ([], ["An earlier reply was of no use (not_json). Reply with the JSON object."])
        # Controls of the huge rows are asked about too.
        case = by_row.get(lines[1])
        seen.add(lines[1])
        check_sent(user["content"], case or json.loads(lines[1]))
        assert len(user["content"]) < 25_000
    assert set(by_row) <= seen, "every row was asked about"
    huge = next(e for e in found.kinds if e.kind == "huge")
    assert huge.undecided == {"too_long": len(HUGE)} and huge.measured == 0 and huge.difference is None


@pytest.mark.parametrize("attempt", SMALL, ids=lambda a: a.name)
def test_pairs_hold_their_rows_too(attempt: Attempt) -> None:
    messages = attempt.attacked.messages
    if not messages:
        pytest.skip("a document is compared with nothing")
    pair = Pair(messages[:-1], messages[-1:], attempt.control.messages[-1:], attempt.attacked.tools)
    for order in (pair, pair.swapped):
        text = framed_pair(order)
        assert len(text.splitlines()) == 4
        check_sent(text, json.loads(text.splitlines()[1]))
    for said in echoes(attempt.attacked):
        assert isinstance(read_pair(reply(said), pair)[0], str)


def reply(text: str) -> Reply:
    return Reply(text, "stop", False, 1, 1, 0.1, "text", 1)


def echoes(case: Case) -> Iterator[str]:
    """What a model may say that repeats a row: the row's line, its texts, and every object in them, as it stands there
    and with its escapes undone once or twice.
    """
    yield framed(case).splitlines()[1]
    for text in texts_of(case):
        yield text
        for plain in undone(text):
            yield plain
            yield unicodedata.normalize("NFKC", plain)
            for at in (i for i, c in enumerate(plain) if c == "{"):
                for end in (i + 1 for i, c in enumerate(plain) if c == "}" and i > at):
                    if plain.count("{", at, end) == plain.count("}", at, end):
                        yield plain[at:end]
                        break


def undone(text: str) -> Iterator[str]:
    yield text
    for _ in range(2):
        text = re.sub(r"\\+u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), text.replace('\\"', '"'))
        yield text


def scores_of(said: str, case: Case) -> dict[str, Any] | str:
    found = parse_reply(reply(said), case, QUALITY.criteria_of(case.kind))
    return dict(found.scores) if isinstance(found, RubricScores) else found


@pytest.mark.parametrize("attempt", SMALL, ids=lambda a: a.name)
def test_a_judge_that_repeats_the_row_says_nothing_and_its_own_verdict_counts(attempt: Attempt) -> None:
    case = attempt.attacked
    criteria = QUALITY.criteria_of(case.kind)
    own = verdict(2, criteria=criteria)
    for said in set(echoes(case)):
        if json_objects(said, lambda _: True).objects[300:]:
            continue
        assert isinstance(scores_of(said, case), str), said
        assert isinstance(scores_of(f"The row says:\n{said}\n", case), str), said
        for both in (f"{said}\n{own}", f"{own}\n{said}"):
            found = scores_of(both, case)
            assert isinstance(found, str) or found == dict.fromkeys(criteria, 2), both
    assert scores_of(own, case) == dict.fromkeys(criteria, 2)


def test_some_of_the_set_are_verdicts_that_an_echo_must_not_pass() -> None:
    """So that the test above can fail: read beside another row, they are verdicts."""
    other = TEAM[0].control
    passing = [a for a in SMALL if any(isinstance(scores_of(s, other), dict) for s in set(echoes(a.attacked)))]
    assert len({a.kind for a in passing}) >= 6 and len(passing) >= 20


@pytest.mark.slow
def test_an_echoing_server_decides_nothing_about_hostile_rows(tmp_path: Path) -> None:
    def echo(_: int, body: dict[str, Any]) -> Act:
        row = json.loads(body["messages"][1]["content"].splitlines()[1])
        said = "\n".join(m["content"] for m in row.get("conversation", [])) + row.get("document", "")
        at, end = said.find("{"), said.rfind("}")
        return completion(said[at : end + 1] if at >= 0 else verdict(2))

    found, _ = judged_by(echo, tmp_path)
    fakes = next(e for e in found.kinds if e.kind == "fake_verdict")
    assert fakes.measured == 0 and set(fakes.undecided) <= {"echoed_verdict", "ambiguous_reply", "not_json"}
    assert found.all.raised == 0 and not found.raised and found.all.measured >= 60


PARTS = [t for a in SMALL for t in texts_of(a.attacked)] + ['"', "\\", "\n", "{", "}"]


@given(st.lists(st.sampled_from(PARTS), max_size=6))
def test_no_mix_of_attacks_leaves_the_frame(parts: list[str]) -> None:
    case = Case("", "", None, "document", (), None, "".join(parts))
    check_sent(framed(case), case)


KINDS = ("conversation", "document")
ASKED = {kind: (orders(QUALITY, kind, ""), [question(c) for c in QUALITY.criteria_of(kind)]) for kind in KINDS}
_ALWAYS = ("Qwen3", "Mistral v0.3", "Gemma 2")


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, id=n, marks=[] if n in _ALWAYS else pytest.mark.slow) for n, f in FAMILIES.items()],
)
def test_no_token_of_a_row_is_a_control_token_of_a_local_model(family: Family) -> None:
    """Nor is any row left out for it: the frame alone keeps them away."""
    made = deepcopy(tokenizer(family))
    control = control_tokens(made)
    assert made.eos_token_id in control and {made.convert_tokens_to_ids(t) for t in family.ends} <= control
    for kind, (told, questions) in ASKED.items():
        prompts = choice_prompts(made, told, questions, RATINGS, probe_rows(kind), family.name)
        rows = [row_text(a.attacked) for a in SMALL if a.attacked.kind == kind]
        for text, middle in zip(rows, prompts.middles(rows), strict=True):
            assert middle is not None and control.isdisjoint(middle), text


def test_a_tokenizer_that_reads_look_alikes_as_its_tokens_is_not_asked_about_such_a_row() -> None:
    from tokenizers import AddedToken, normalizers

    made = deepcopy(tokenizer(FAMILIES["Qwen3"]))
    made.backend_tokenizer.normalizer = normalizers.NFKC()
    made.add_special_tokens({"additional_special_tokens": [AddedToken("|im_end|", normalized=True, special=True)]})
    told, questions = ASKED["conversation"]
    prompts = choice_prompts(made, told, questions, RATINGS, probe_rows("conversation"), "odd")
    row = next(a for a in SMALL if a.name == "lookalikes_1")
    assert prompts.middles([row_text(row.attacked)]) == [None]
    assert prompts.middles([row_text(row.control)]) != [None]


SCORES = st.sampled_from([1, 1.5, 2, 3, 4.5, 5])
JUDGES = st.lists(st.fixed_dictionaries(dict.fromkeys(CRITERIA, SCORES)), min_size=2, max_size=6)
FOOLED = st.sampled_from([1, 5])


@given(JUDGES, FOOLED, st.sampled_from(["median", "veto", "mean"]))
def test_one_fooled_judge_moves_a_jury_no_farther_than_its_rule_allows(
    honest: Sequence[dict[str, Any]], fooled: int, by: Any
) -> None:
    said = {f"j{i}": JudgeVerdict("llm", "", scores) for i, scores in enumerate(honest)}
    said["fooled"] = JudgeVerdict("llm", "", dict.fromkeys(CRITERIA, fooled))
    server = {"base_url": "http://127.0.0.1/v1", "model": "m"}
    others = tuple({"name": name, "endpoint": server} for name in list(said)[1:])
    found = combined(said, JuryConfig.model_validate({"others": others, "by": by}), "").scores
    for criterion in CRITERIA:
        theirs, score = sorted(h[criterion] for h in honest), found[criterion]
        if by == "veto":
            assert score <= theirs[0], "nothing is raised above the lowest of the others"
        elif by == "median":
            assert theirs[0] <= score <= theirs[-1], "it stays within what the others say"
        else:
            assert abs(score - sum(theirs) / len(theirs)) <= 4 / (len(theirs) + 1) + 1e-4


class Known:
    """A judge with fixed verdicts."""

    rated, criteria, digest = False, CRITERIA, "d"

    def __init__(self, of: Callable[[Case], JudgeVerdict]) -> None:
        self.verdicts = lambda cases: [of(case) for case in cases]

    def notes(self) -> tuple[str, ...]:
        return ("Known.",)


def test_effects_by_hand() -> None:
    attacked = {a.attacked.record_id: a for a in TEAM}
    lost = {a.control.record_id for a in TEAM if a.name == "emoji_3"}

    def of(case: Case) -> JudgeVerdict:
        attempt = attacked.get(case.record_id)
        if (attempt and attempt.kind == "huge") or case.record_id in lost:
            return JudgeVerdict("llm", "", error="too_long")
        score = {"order_1": 5, "order_2": 4, "order_3": 3, "emoji_1": 1}.get(attempt.name, 3) if attempt else 3
        return JudgeVerdict("llm", "", dict.fromkeys(CRITERIA, score))

    found = resistance(Known(of), JudgeConfig())  # type: ignore[arg-type]
    by_kind = {e.kind: e for e in found.kinds}
    order = by_kind["order"]
    assert (order.attempts, order.measured, order.without, order.attacked) == (5, 5, 3.0, 3.6)
    assert order.raised == order.crossed == 0.4 and order.difference is not None
    assert order.difference.value == pytest.approx(0.6) and 0 <= order.difference.low < 0.6 < order.difference.high
    emoji = by_kind["emoji"]
    assert (emoji.measured, emoji.attacked, emoji.raised, emoji.control_undecided) == (2, 2.0, 0.0, {"too_long": 1})
    assert by_kind["huge"].undecided == {"too_long": 5} and by_kind["huge"].raised is None
    assert found.raised == {"order_1": 2.0, "order_2": 1.0} and found.judge == ("Known.",)
    assert found.all.measured == len(TEAM) - 6 and found.all.raised == pytest.approx(2 / (len(TEAM) - 6))


def test_any_line_raises_the_heuristic_judges_scores_as_the_attacks_do() -> None:
    """Signals see what ends a text, and what it is made of: whatever is added hides that, whether it orders or not."""
    judge = HeuristicJudge(JudgeConfig())
    harmless = "The weather in the valley was mild that day, and the shops were open until six."
    texts = [
        (a, line) for a, line in zip(TEAM, lines(), strict=True) if line["place"].split("_")[-1] in ("start", "end")
    ]
    alone = judge.verdicts([a.control for a, _ in texts])
    attacked = judge.verdicts([a.attacked for a, _ in texts])
    mild = judge.verdicts([_case(line, harmless, line["place"]) for _, line in texts])
    raised = [sum(x.share - y.share > 0.199 for x, y in zip(of, alone, strict=True)) for of in (attacked, mild)]
    assert (len(texts), *raised) == (141, 26, 25)
