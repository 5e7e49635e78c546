"""What a model is asked so that further questions come of rows."""

from collections.abc import Sequence

from steps.contracts.digests import value_digest
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.framing import FRAMED, framed
from steps.engines.llm.objects import form, to_ask
from steps.engines.llm.session import Question
from steps.engines.prompted.prompted import Prompted

_FORM = "Reply with one JSON object and nothing else: "
_GIVEN = f"You get {{what}} as one line of JSON between two marker lines. It {FRAMED}"
_STRING = {"type": "string"}

_ORDERS = {
    "paraphrase": (
        "Write `question` in {n} other ways. Each asks the same, of the same things, with the same names, figures and"
        " conditions, so that `answer` answers it as it stands; words and the build of the sentences are others. Keep"
        " its language."
    ),
    "translate": "Translate `question` into {how}, whole and exactly. Code, names and figures stay as they are.",
    "translate_back": "Translate `question` into the language of `answer`, whole and exactly. Code, names and figures"
    " stay as they are.",
    "evolve:harder": (
        "Write a question that is harder than `question` and on the same subject: it asks for one more step of thought,"
        " a further condition, or a rarer case. It can be answered, stands alone, and is no longer than it must be."
    ),
    "evolve:longer": (
        "Write a question on the same subject as `question` that needs a longer answer: it gives more of the situation"
        " and asks for every part of it. It can be answered and stands alone."
    ),
    "evolve:other_format": (
        "Write a question that asks for the same as `question` in another form of answer: a table, a list of steps,"
        " JSON with named fields, a dialogue, an e-mail, whatever the matter suits. It says which form."
    ),
    "persona": (
        "Write `question` as this person would ask it, with what they know and care about: {how}. It is on the same"
        " subject, can be answered and stands alone, and doesn't introduce the person."
    ),
    "self_instruct": (
        "The questions show what the data is about. Write {n} others that belong beside them: on subjects, of kinds and"
        " in wordings that aren't there yet. Each can be answered without seeing the others."
    ),
}
_WRITER = """\
You write questions to train a language model on. {given}

{orders}
Leave an empty list where it can't be done well.
{more}
{form}{{"questions": ["..."]}}"""
WRITTEN = form(questions={"type": "array", "items": _STRING})

_SAME = """\
You compare two questions. {given}

`same` is true where `second` asks for the same as `first`, of the same things and under the same conditions, so that \
one answer answers both.

{form}{{"same": true}}"""
SAME = form(same={"type": "boolean"})


def to_write(
    kind: str, how: str, n: int, seed: Prompted, question: str, instructions: str, asked: Endpoint
) -> Question:
    """Asks for questions that are made of one. `kind`: one of `_ORDERS`; `question`: in place of the seed's."""
    value = {"question": question, "answer": seed.answer}
    if seed.before:
        value["before"] = "\n\n".join(m["content"] for m in seed.before)
    return to_ask(_orders(kind, how, n, instructions), framed(value, "question"), WRITTEN, asked)


def to_invent(n: int, seeds: Sequence[Prompted], instructions: str, asked: Endpoint) -> Question:
    """Asks for questions beside these."""
    questions = [s.question for s in seeds]
    return to_ask(_orders("self_instruct", "", n, instructions), framed(questions, "questions"), WRITTEN, asked)


def _orders(kind: str, how: str, n: int, instructions: str) -> str:
    more = f"\nFor this data set in particular:\n{instructions.strip()}\n" if instructions.strip() else ""
    orders = _ORDERS[kind].format(n=n, how=how)
    given = _GIVEN.format(what="questions" if kind == "self_instruct" else "a question with its answer")
    return _WRITER.format(given=given, orders=orders, more=more, form=_FORM)


def to_compare(first: str, second: str, asked: Endpoint) -> Question:
    """Asks whether two questions are one."""
    orders = _SAME.format(given=_GIVEN.format(what="them"), form=_FORM)
    return to_ask(orders, framed({"first": first, "second": second}, "questions"), SAME, asked)


def prompt_digest(kind: str, how: str, n: int, instructions: str) -> str:
    """Digest of the orders for a kind."""
    return value_digest([_orders(kind, how, n, instructions), WRITTEN])
