"""What single signals must see, and what they must leave alone: good answers as people write them."""

from pathlib import Path

import pytest
from support.textrows import chat, dataset, ledger_lines

from steps.contracts.context import StageContext
from steps.engines.rubric.case import case_of
from steps.judge.config import JudgeConfig
from steps.judge.heuristic import HeuristicJudge
from steps.judge.judge import judge


def signals(prompt: str, answer: str) -> set[str]:
    verdict = HeuristicJudge(JudgeConfig()).verdicts([case_of(chat(prompt, answer))])[0]
    return {name for criterion in verdict.scores for name in verdict.signals(criterion)}


def dropping(prompt: str, answer: str) -> set[str]:
    switches = JudgeConfig().signals
    return {name for name in signals(prompt, answer) if switches.action(name) == "drop"}


SUPPORT = [
    ("How do I reset my password?", "Click Forgot on the login page and follow the link that we mail to you."),
    ("My parcel hasn't come.", "I'm sorry to hear that. It left our depot on Monday, so give it two days."),
    ("Can I pay by invoice?", "Yes. At checkout, pick the last option; you then have 30 days."),
    ("The app crashes when I open it.", "Please delete it, restart the phone and install the newest version again."),
    ("Do you ship to Norway?", "We do, for 12 euros. Customs may add charges of their own on arrival."),
    ("I was billed twice!", "I am sorry about that. I have refunded the second amount; it arrives within five days."),
    ("Where is my order 4711?", "It was handed to the courier this morning and should be with you tomorrow."),
    ("Is it waterproof?", "Up to one metre for thirty minutes. Rinse off salt afterwards."),
    ("Cancel my subscription", "Done. You keep access until the end of the month, and nothing more will be charged."),
    ("How long do you keep my data?", "Ninety days after you close your account, then everything is erased."),
]


@pytest.mark.parametrize(("prompt", "answer"), SUPPORT)
def test_plain_answers_of_a_help_desk_are_never_dropped(prompt: str, answer: str) -> None:
    assert dropping(prompt, answer) == set() and "refusal" not in signals(prompt, answer)


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I can't fulfill that request.",
    "As an AI language model, I cannot provide medical advice. Please consult a doctor.",
    "Sorry, I won't write that for you. If you have any other questions, feel free to ask!",
    "I'm unable to assist with this. Is there anything else I can do for you?",
    "I must decline to answer this question.",
    "We are not able to share this information.",
    "Es tut mir leid, aber ich kann Ihnen dabei leider nicht helfen.",
    "Ich darf diese Frage nicht beantworten.",
    "Als KI bin ich nicht in der Lage, diese Anfrage zu erfüllen.",
    "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
    "Malheureusement, je ne suis pas en mesure de répondre à cette question.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Como modelo de lenguaje, no puedo proporcionar esa información.",
    "Desculpe, mas não posso ajudar com isso.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "抱歉，我无法回答这个问题。",
    "申し訳ありませんが、そのご質問にはお答えできません。",
]

NO_REFUSALS = [
    "I am sorry about that. I have refunded your order, and the money will be there by Friday.",
    "Sorry for the wait! Your new card was sent on Monday and comes with the post.",
    "We apologize for the delay. Your parcel is on its way now.",
    "I'm afraid the shop is closed on Sundays, so come on Monday after nine.",
    "I can't recommend this place enough: the food is fresh, the rooms are bright and quiet.",
    "I can't help but move my feet when the music plays.",
    "I'm sorry, but I can't change the address once a parcel is on its way. Refuse it at the door, and it comes back"
    " to us; we then send it to the new place at no cost.",
    "As an AI, I don't have a favourite team, but many people like the one from their own town, and for good reasons.",
    "I cannot open the file because it is damaged. Run the repair tool, then load the copy that it makes.",
    "You cannot divide by zero, so the function isn't defined there.",
    "Es tut mir leid, dass das Paket zu spät kam. Wir haben Ihnen die Kosten heute erstattet.",
    "Das kann ich gern erklären: Wasser siedet nicht bei jeder Höhe mit derselben Temperatur.",
    "Je suis désolé pour ce retard. Votre colis est parti ce matin et arrive demain.",
    "Lo siento mucho por el error. Ya hemos devuelto el dinero a su tarjeta.",
    "Desculpe pela demora. O seu pedido saiu hoje de manhã.",
    "Ci scusiamo per il disagio. Il rimborso è già partito.",
    "非常抱歉给您带来不便。我们今天已经把钱退到您的账户。",
    "ご迷惑をおかけして申し訳ありません。本日返金いたしました。",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refusal_is_one_in_any_wording(answer: str) -> None:
    assert "refusal" in signals("Please do it.", answer)


@pytest.mark.parametrize("answer", NO_REFUSALS)
def test_an_apology_or_a_negation_is_no_refusal(answer: str) -> None:
    assert "refusal" not in signals("Please do it.", answer)


GLACIERS = (
    "Glaciers form where more snow falls in winter than melts in summer. Layer upon layer is pressed into dense ice,"
    " which begins to flow downhill under its own mass. On the way it grinds bedrock to flour, carves valleys, and"
    " leaves moraines of boulders and gravel behind when the climate warms and the tongue retreats."
)
MORTGAGE = "What should a couple check before signing a fixed-rate mortgage with a regional savings bank?"


def test_a_long_answer_to_another_prompt_is_dropped() -> None:
    assert dropping(MORTGAGE, GLACIERS) == {"unrelated_to_prompt"}
    assert dropping("How do glaciers form?", GLACIERS) == set()


@pytest.mark.parametrize(
    "prompt",
    [
        "Write a story that a savings bank could print on its mortgage leaflet.",
        "Was prüft man vor einem Kredit bei der Sparkasse?",
        "Why?",
        "Explain snow.",
        MORTGAGE.replace("savings", "glacier"),
    ],
    ids=["invented", "another language", "says nothing", "too little", "one word shared"],
)
def test_what_cannot_be_told_is_not_dropped_as_unrelated(prompt: str) -> None:
    assert "unrelated_to_prompt" not in signals(prompt, GLACIERS)


def test_a_shared_figure_relates_and_so_does_a_list_without_sentences() -> None:
    assert dropping(f"{MORTGAGE} It is 250000 for 2035.", f"{GLACIERS} That was in 2035.") == set()
    films = "\n".join(f"{i}. {name}" for i, name in enumerate(GLACIERS.split()[:40], 1))
    assert dropping(MORTGAGE, films) == set()


@pytest.mark.parametrize(
    ("answer", "signal"),
    [
        ("Eso es todo.", None), ("TODO: write this", "placeholder"), ("none", "null_value"), (":-)", None),
        ("...", "placeholder"), ("[Insert poster here]", "placeholder"),
        ("Dear [Your Name], your table is booked for eight.", "template_slot"),
        ("Lorem ipsum is text that typesetters use to fill a page.", None),
        ('{"apples", "bananas"}', None), ('{"apples": 3, "pears"', "broken_json"), ('{"app', "broken_json"),
        ("[[1, 7]\n [8, 9]]", None),
        ("With best wishes, and many thanks,\n\nKind regards,", None),
        ("Use this:\n````\n```python\nprint(1)\n```\n````", None),
        ("Use this:\n```\n```python\nprint(1)\n```\n", None),
        ("Use this:\n```python\nprint(1)", "open_code_block"),
        ("edit, here, the, this, a", None), ("Apple iPhone 11, Samsung Galaxy S20, Google Pixel 3a", None),
        ("The energy splits the water, and the plant builds sugar from the", "ends_mid_sentence"),
        ("T: South Wind\nM:6/8 Q:1/4=108\nK:G", None), ("So 3 * 12 = 35.", "wrong_arithmetic"),
        ("\n".join(f"{i}. what we have {w}" for i, w in enumerate(("seen", "met", "won", "got", "had"), 1)), None),
        ("I like it. I like it. I like it. I like it. I like it. I like it.", "repeats_itself"),
        ("2 x 2 = 4\n2 x 3 = 6\n2 x 4 = 8\n2 x 5 = 10\n2 x 6 = 12\n2 x 7 = 14", None),
    ],
)  # fmt: skip
def test_edges_of_single_signals(answer: str, signal: str | None) -> None:
    found = signals("Please do it.", answer)
    assert (signal in found) if signal else not dropping("Please do it.", answer) and "null_value" not in found


def of_source(row: dict, source: str, locator: int) -> dict:
    return {**row, "source": source, "locator": str(locator), "record_id": f"{source}-{locator:03}"}


def test_a_signal_that_takes_much_of_a_source_is_said_with_examples_and_the_key(tmp_path: Path) -> None:
    good = [of_source(chat(f"Lamp {i}?", "It is red."), "lamps/a.jsonl", i) for i in range(40)]
    bad = [of_source(chat(f"Lamp {i}?", "asdf asdf"), "lamps/b.jsonl", i) for i in range(40, 48)]
    few = [of_source(chat(f"Chair {i}?", "asdf asdf" if not i else "It is red."), "chairs", i) for i in range(20)]
    rows = dataset([*bad, *good, *few], tmp_path / "in")
    report = judge(rows, JudgeConfig(), StageContext(tmp_path / "out", scrubbed=False)).report
    shown = ", ".join(f"lamps/b.jsonl-{i:03} (lamps/b.jsonl:{i})" for i in range(40, 45))
    assert report.warnings == (
        f"the signal keyboard_mash drops 8 of 48 rows (16.7%) of source lamps: {shown}."
        " If these rows are good, set judge.signals.keyboard_mash: flag (kept and marked) or off",
    )
    assert {e.text for e in report.examples} == {""}, "rows that weren't scrubbed are shown by id"


def test_the_ledger_names_the_signal(tmp_path: Path) -> None:
    rows = dataset([chat("Lamp?", "asdf asdf"), chat("Price?", "I'm sorry, but I can't help with that.")], tmp_path)
    outcome = judge(rows, JudgeConfig(), StageContext(tmp_path / "out", scrubbed=True))
    assert [(line["verdict"], line["reason"]) for line in ledger_lines(outcome)] == [
        ("dropped", "keyboard_mash"), ("flagged", "refusal"),
    ]  # fmt: skip
    assert all(e.text for e in outcome.report.examples)
