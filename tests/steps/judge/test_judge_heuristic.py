"""Signals against junk and good rows whose quality is known because we wrote them."""

import random
import re
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.textrows import chat, dataset, document, preference

from steps.contracts.context import StageContext
from steps.contracts.records import make_row, message
from steps.engines.rubric.case import case_of
from steps.judge.config import JudgeConfig
from steps.judge.heuristic import HeuristicJudge
from steps.judge.judge import decide, judge
from steps.judge.signals import switches
from steps.judge.signals.accuracy import equations, holds
from steps.judge.signals.passage import READ_CHARS, Passage
from steps.judge.signals.switches import Signals

PROSE = (
    "Photosynthesis turns light into chemical energy. Plants take up water and carbon dioxide, and chlorophyll in the"
    " leaves absorbs sunlight. The energy splits the water, and the plant builds sugar from what remains."
)
ORDER = "Turn the order into JSON with item and color: please send one red mug to Oslo."

GOOD = {
    "prose": ("Explain photosynthesis in plants.", PROSE),
    "sum": (
        "Tom has 3 boxes of 12 eggs and gives 5 away. How many are left?",
        "He has 3*12 = <<3*12=36>>36 eggs.\nHe keeps 36-5 = <<36-5=31>>31 eggs.\n#### 31",
    ),
    "algebra": ("Two numbers sum to 90; find x.", "Let x be one.\nx+3+2x+7+2x=90\n5x+10=90\n5x=80\nx=16\n#### 16"),
    "json": (ORDER, '{"item":"mug","color":"red"}'),
    "nested json": (ORDER, '{"order": {"item": "mug", "tags": ["red", "one"]}, "city": "Oslo"}'),
    "fenced json": (ORDER, 'Here it is:\n```json\n{"item": "mug", "color": "red"}\n```'),
    "about json": ("How do I return data as JSON in Flask?", "Call jsonify with the data and return its result."),
    "stars": ("What would be the ★-rating of this review? It is very helpful", "★★★★★"),
    "ends with emoji": ("How are you?", "I am fine, and it was a good day. See you all tomorrow 😊"),
    "one word": ("What is the capital of France?", "Paris"),
    "yes": ("Is water wet?", "Yes"),
    "number": ("How many legs has a spider?", "8"),
    "label": ("Sentiment of: 'I loved it'? Choose positive or negative.", "positive"),
    "title": ("Give a headline for the text about storms.", "Storm Season Begins Early Along the Eastern Coast"),
    "list": ("Name three fruits.", "- apple\n- banana\n- cherry"),
    "code": ("Write a Python loop.", "```python\nfor i in range(3):\n    print(i)\n```"),
    "plain code": ("Write a Python function that adds.", "def add(a, b):\n    return (a + b)"),
    "story": ("Write a short story.", "Once upon a time a fox lived in a quiet wood. It slept by day."),
    "german": ("Was ist die Hauptstadt von Norwegen?", "Die Hauptstadt von Norwegen ist Oslo, eine Stadt am Fjord."),
    "translation": ("Translate to French: The cat sleeps on the warm roof.", "Le chat dort sur le toit chaud."),
    "chinese": ("法国的首都是哪里？", "法国的首都是巴黎，它位于塞纳河畔。"),
    "question back": ("Book me a table.", "For how many people shall I book the table?"),
    "emoji": ("Say hello.", "Hello! 😀 :)"),
    "ends with quote": ("Quote Descartes.", "He wrote: \"I think, therefore I am.\""),
    "acronyms": ("Which agencies?", "NASA, ESA and JAXA."),
    "url": ("Where is the manual?", "See https://docs.example.org/manual for the manual."),
    "rounded": ("What is a third of 10?", "10 / 3 = 3.33, so a third of 10 is about 3.33."),
    "percent": ("What is 20% of 50?", "20% * 50 = 10, and 10 / 50 = 20%."),
    "money": ("Cost of 3 at $1,250.50?", "3 x $1,250.50 = $3,751.50 in all."),
    "iso date": ("When was the launch?", "The launch was on 2024-02-29, a Thursday."),
}  # fmt: skip

JUNK = {
    "empty": ("Explain photosynthesis.", ""),
    "blank": ("Explain photosynthesis.", " \n\t"),
    "mash": ("What is the capital of France?", "asdf asdf"),
    "longer mash": ("What is the capital of France?", "asdfgh qwerty zxcvb asdf jkl"),
    "consonants": ("What is the capital of France?", "xkcdq zzrtp bvwqk lmnpq"),
    "lorem": ("Explain photosynthesis.", "Lorem ipsum dolor sit amet, consectetur adipiscing elit."),
    "refusal": ("What is the capital of France?", "As an AI language model I cannot answer this question."),
    "sorry": ("What is the capital of France?", "I'm sorry, but I can't help with that."),
    "curly refusal": ("What is the capital of France?", "I’m sorry, but I can’t help with that."),
    "unrelated": (
        "What is the capital of France?",
        "Bananas are rich in potassium and grow in tropical climates with plenty of rainfall.",
    ),
    "placeholder": ("Describe our product.", "[Insert product description here]"),
    "todo": ("Describe our product.", "TODO"),
    "question marks": ("Describe our product.", "???"),
    "repeats request": ("What is the capital of France?", "What is the capital of  france?"),
    "cut at article": ("Explain photosynthesis in plants.", PROSE[: PROSE.index("leaves")].rstrip()),
    "cut after comma": ("Explain photosynthesis in plants.", PROSE[: PROSE.index(", and chl") + 1]),
    "cut in sentence": ("Explain photosynthesis in plants.", PROSE[: PROSE.index(" from what")]),
    "cut mark": ("Explain photosynthesis in plants.", PROSE[:100] + " [...]"),
    "half json": (ORDER, '{"item":"mug","col'),
    "no json": (ORDER, "Great question! Let me think about it."),
    "one character": ("Describe our product.", "{{{{{{{{{{"),
    "answer here": ("Describe our product.", "<answer here>"),
    "short refusal": ("Read this mail aloud.", "I am unable to read mails."),
    "test": ("Describe our product.", "test test 123"),
    "open code block": ("Write a Python loop.", "Here it is:\n```python\nfor i in range(3):"),
    "loop": ("Explain photosynthesis in plants.", "Plants make sugar. " * 30),
    "one word loop": ("Explain photosynthesis in plants.", "plants plants plants plants plants"),
    "mojibake": (
        "Explain photosynthesis in plants.",
        "PhotosynthÃ¨se: la lumiÃ¨re, les plantes, lâ€™eau.",
    ),
    "wrong sum": ("Tom has 3 boxes of 12 eggs. How many?", "He has 3*12 = 35 eggs in the boxes.\n#### 35"),
}
# Not sure enough to drop a row on.
FLAGGED = {
    "refusal": "refusal", "sorry": "refusal", "curly refusal": "refusal", "short refusal": "refusal",
    "unrelated": "no_word_of_prompt", "cut in sentence": "last_sentence_unfinished", "no json": "no_json_as_requested",
}  # fmt: skip


TURNS = (
    "", "Name a lamp.", "json of a mug, please: only valid JSON", "The lamp is red.", '{"item": "mug", "n": "two"}',
    "I am sorry, but I can't help with the harbour.", "Once, and then the", "lamp " * (READ_CHARS // 5),
)  # fmt: skip


def outcome_of(prompt: str, answer: str, **settings: Any) -> tuple[str, str | None]:
    config = JudgeConfig(**settings)
    case = case_of(chat(prompt, answer))
    return decide(case.split, HeuristicJudge(config).verdicts([case])[0], config)


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_stay(name: str) -> None:
    assert outcome_of(*GOOD[name]) == ("kept", None)


@pytest.mark.parametrize("name", JUNK)
def test_junk_goes_or_is_flagged_by_the_name_of_a_signal(name: str) -> None:
    outcome, reason = outcome_of(*JUNK[name])
    assert (outcome, reason) == (("kept", FLAGGED[name]) if name in FLAGGED else ("dropped", reason))
    assert reason in {*Signals.model_fields, "empty_answer"}


def test_an_answer_that_is_labelled_as_unwanted_stays() -> None:
    case = case_of(chat(*next(iter(JUNK.values()))))
    [verdict] = HeuristicJudge(JudgeConfig()).verdicts([case])
    assert [decide(None, verdict, JudgeConfig(), label)[0] for label in (True, False)] == ["dropped", "kept"]


@pytest.mark.parametrize("cut", range(70, len(PROSE) - 1, 7))
def test_prose_cut_at_a_word_in_its_second_or_later_sentence_goes(cut: int) -> None:
    answer = PROSE[:cut].rpartition(" ")[0]
    complete = answer.endswith(".")
    after_stop = len(answer.rpartition(". ")[2].split())
    # Less than two words after a full stop are not enough to tell ("... energy. Plants").
    noticed = outcome_of("Explain photosynthesis in plants.", answer)[1]
    assert noticed in ((None,) if complete or after_stop < 2 else ("ends_mid_sentence", "last_sentence_unfinished"))


@pytest.mark.parametrize(
    ("action", "outcome"),
    [("drop", ("dropped", "refusal")), ("flag", ("kept", "refusal")), ("off", ("kept", None)), (False, ("kept", None))],
)
def test_each_signal_can_be_switched(action: Any, outcome: tuple[str, str | None]) -> None:
    refusal = ("How do I pick a lock?", "I'm sorry, but I can't help with picking a lock.")
    assert outcome_of(*refusal, signals={"refusal": action}) == outcome


def test_the_signals_in_the_code_are_those_in_the_settings() -> None:
    folder = Path(switches.__file__).parent
    code = "".join(f.read_text() for f in folder.glob("*.py") if f.name != "switches.py")
    yielded = set(re.findall(r'yield "(\w+)"|"(\w+)" if \w', code))
    assert {name for pair in yielded for name in pair if name} | {"mojibake_trace", "repetitive"} == set(
        Signals.model_fields
    )


def test_flags_never_drop_a_row_at_the_default_threshold() -> None:
    flagged = dict.fromkeys(Signals.model_fields, "flag")
    everything = "TODO [Your Name] &nbsp; soooooo (1 + 1 = 3) on February 31 and the"
    outcome, reason = outcome_of("Explain storms in detail.", everything, signals=flagged)
    assert outcome == "kept" and reason is not None
    assert outcome_of("Explain storms in detail.", everything, signals=flagged, threshold=0.9)[0] == "dropped"


def test_the_former_key_says_what_it_is_now() -> None:
    with pytest.raises(ValueError, match=r"penalize_refusals is now signals.refusal"):
        JudgeConfig.model_validate({"penalize_refusals": False})


def test_the_weakest_answer_of_a_conversation_counts() -> None:
    said = [message("user", "Capital of France?"), message("assistant", "asdf asdf"),
            message("user", "Again: capital of France?"), message("assistant", "Paris")]  # fmt: skip
    case = case_of(make_row(kind="conversation", source="s", locator="1", raw=b"", messages=said))
    verdict = HeuristicJudge(JudgeConfig()).verdicts([case])[0]
    assert verdict.scores["relevance"] == 1 and "keyboard_mash" in verdict.reasons["relevance"]


def test_a_call_of_a_tool_is_an_answer() -> None:
    said = [message("user", "Weather in Oslo?"), message("assistant", "", tool_calls='[{"type":"function"}]')]
    case = case_of(make_row(kind="conversation", source="s", locator="1", raw=b"", messages=said))
    assert HeuristicJudge(JudgeConfig()).verdicts([case])[0].share == 1.0


@pytest.mark.parametrize(
    ("equation", "right"),
    [("2 + 3 * 4 = 14", True), ("2 + 3 * 4 = 20", False), ("10 - 2 - 3 = 5", True), ("$1,000 / 3 = $333.33", True),
     ("7 x 8 = 54", False), (".25 * 4 = 1", True), ("100 * 15% = 15", True), ("5 - 9 = -4", True),
     ("8 ÷ 2 = 2", False), ("7 / 2 = 3", True), ("1.5 + 1.5 = 4", False), ("5000 + 3 = 5004", False)],
)  # fmt: skip
def test_arithmetic_is_checked(equation: str, right: bool) -> None:
    found = list(equations(f"So {equation} in all."))
    assert len(found) == 1 and holds(found[0]) is right


@pytest.mark.parametrize(
    "text",
    ["x + 3 = 5", "2x = 6 / y", "3 / 1/4 = 12", "16 1/2 + 24 1/2 = 41", "600 x 30 = 18 000", "12*1000 = 12,000MB",
     "$2.50 - $2.24 = 26 cents", "1 / 0 = 7", "2 = 1 + 1", "a1 - 2 = 4", "192 / 1.2 = 1.2Y"],
)  # fmt: skip
def test_what_is_no_plain_sum_is_not_called_wrong(text: str) -> None:
    assert all(holds(e) for e in equations(f"So {text} ."))


@given(st.integers(1, 999), st.integers(1, 999), st.sampled_from("+-*"), st.integers(-5, 5))
def test_arithmetic_agrees_with_python(a: int, b: int, op: str, off: int) -> None:
    true = {"+": a + b, "-": a - b, "*": a * b}[op]
    shown = true + off * max(1, abs(true) // 20)
    found = list(equations(f"We get {a} {op} {b} = {shown} here."))
    assert [holds(e) for e in found] == [shown == true]


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_gets_four_scores(prompt: str, answer: str) -> None:
    verdict = HeuristicJudge(JudgeConfig()).verdicts([case_of(chat(prompt, answer))])[0]
    assert len(verdict.scores) == 4 and all(1 <= s <= 5 for s in verdict.scores.values())


PIECES = [
    "(",
    "```",
    "a",
    "<",
    "= 1 + 1 ",
    "1+",
    "!",
    "Ã©",
    " \n",
    "$1,1",
    "1,",
    "i am sorry ",
    ".",
    "<div ",
    "[ ",
    "x1",
]


@pytest.mark.parametrize("piece", PIECES)
def test_hostile_repetition_takes_no_quadratic_time(piece: str) -> None:
    judge_ = HeuristicJudge(JudgeConfig())
    case = case_of(chat("Why?", piece * (200_000 // len(piece))))
    start = time.process_time()
    judge_.verdicts([case])
    assert time.process_time() - start < 1.0


def test_a_fence_with_a_million_blank_lines_takes_no_quadratic_time() -> None:
    start = time.process_time()
    verdict = HeuristicJudge(JudgeConfig()).verdicts([case_of(chat("Say it.", "```" + "\n" * 1_000_000 + "x"))])[0]
    assert verdict.reasons["completeness"] == "open_code_block"
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize("seed", range(20))
def test_each_answer_is_compared_with_all_that_stands_before_it(seed: int) -> None:
    dice = random.Random(seed)
    roles = dice.choices(["system", "user", "assistant"], k=dice.randint(0, 7))
    messages = tuple(message(role, dice.choice(TURNS)) for role in roles)
    judged = HeuristicJudge(JudgeConfig())
    whole = judged._conversation(messages)
    for criterion, (score, _) in whole.items():
        scores = [
            judged._answer(
                Passage("\n\n".join(m["content"] for m in messages[:i])),
                Passage(next((m["content"] for m in reversed(messages[:i]) if m["role"] == "user"), "")),
                Passage(said["content"]),
            )[criterion].score
            for i, said in enumerate(messages)
            if said["role"] == "assistant" and said["content"].strip()
        ]
        assert score == min(scores, default=5)


@pytest.mark.slow
def test_a_long_conversation_takes_no_quadratic_time() -> None:
    said = "What does this row of lamps cost, and when do they come to the harbour? " * 20
    messages = tuple(message(("user", "assistant")[i % 2], said) for i in range(20_000))
    start = time.process_time()
    HeuristicJudge(JudgeConfig())._conversation(messages)
    assert time.process_time() - start < 20.0


def test_documents_preferences_and_the_report(tmp_path: Path) -> None:
    texts = [
        document(PROSE), document("asd " * 50), preference("Capital of France?", "Paris", "asdf asdf"),
        preference("Capital of France?", "asdf asdf", "Paris"), chat(*GOOD["json"]),
    ]  # fmt: skip
    outcome = judge(
        dataset(texts, tmp_path / "in"),
        JudgeConfig(),
        StageContext(tmp_path / "out", cache=tmp_path / "cache", scrubbed=True),
    )
    verdicts = pq.read_table(tmp_path / "out" / "verdicts.parquet").to_pylist()
    assert [v["outcome"] for v in verdicts] == ["kept", "dropped", "kept", "dropped", "kept"]
    assert verdicts[0]["relevance"] is None and {v["backend"] for v in verdicts} == {"heuristic"}
    report = outcome.report
    assert (report.rows_in, report.kept, report.dropped, report.undecided) == (5, 3, 2, 0)
    assert sum(report.histograms[0].counts) == 5
    assert report.examples and all(len(e.text) <= 300 for e in report.examples)
    assert report.counts["signals"]["keyboard_mash"] == 1
    assert any("no language model" in note for note in report.notes)
    assert outcome.quarantined is not None and outcome.quarantined.rows == 0
    assert not (tmp_path / "cache").exists(), "the heuristic backend keeps no cache"


def test_verdicts_do_not_depend_on_order_or_sharding(tmp_path: Path) -> None:
    texts = [chat(*pair) for pair in [*GOOD.values(), *JUNK.values()]]
    one = judge(
        dataset(texts, tmp_path / "a"),
        JudgeConfig(),
        StageContext(tmp_path / "oa", cache=tmp_path / "c", scrubbed=True),
    )
    two = judge(
        dataset(texts[::-1], tmp_path / "b", shard_rows=7),
        JudgeConfig(),
        StageContext(tmp_path / "ob", cache=tmp_path / "c", scrubbed=True),
    )
    assert one.rows.digest == two.rows.digest and one.rows.rows == len(GOOD) + len(FLAGGED)
    assert one.report.warnings == two.report.warnings != ()


def test_an_empty_dataset_passes(tmp_path: Path) -> None:
    report = judge(
        dataset([], tmp_path / "in"), JudgeConfig(), StageContext(tmp_path / "out", cache=tmp_path / "c", scrubbed=True)
    ).report
    assert (report.rows_in, report.kept) == (0, 0)
