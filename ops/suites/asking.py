"""What a model is asked so that questions come of documents: orders, the frame around a text, replies by schema."""

import json
from collections.abc import Sequence

from steps.engines.llm.client import Reply
from steps.engines.llm.framing import FRAMED, framed, harmless
from steps.engines.llm.objects import form, object_in, to_ask
from steps.engines.llm.session import ChatSession, Question

# Chosen: longer answers can be right in too many words.
ANSWER_WORDS = 10
_FRAME = f"You get a passage as one line of JSON between two marker lines. It {FRAMED}"
_FORM = "Reply with one JSON object and nothing else: "
_TEXT = {"type": "string", "minLength": 1, "maxLength": 600}

ORDERS = {
    "domain": (
        f"You write questions that test whether somebody knows what a document says. {_FRAME}\n\nWrite {{n}} questions"
        " in the passage's language. Each can be answered from the passage alone, has one right answer, and can be"
        " understood by somebody who doesn't see the passage: it names what it is about and mentions no passage, text"
        f" or document. `answer` is at most {ANSWER_WORDS} words, copied from the passage. `quote` is the sentence of"
        " the passage that has the answer in it, copied exactly."
    ),
    "general": (
        f"You write questions of general knowledge. {_FRAME}\n\nThe passage only shows in which language the questions"
        " are to be. Write {n} questions that have nothing to do with the passage or with one another: facts that most"
        " people learn at school, one sum in words, one riddle. Each has one right answer, which doesn't change with"
        f" time. `answer` is at most {ANSWER_WORDS} words; of a sum it is the number in digits. `quote` is empty."
    ),
    "unanswerable": (
        f"You write questions that nobody can answer. {_FRAME}\n\nWrite {{n}} questions in the passage's language about"
        " things and people that the passage is about. Each asks for a detail that neither the passage says nor general"
        " knowledge, and sounds as natural as a question that has an answer. It mentions no passage, text or document."
        " `answer` says in one short sentence that this isn't known. `quote` is empty."
    ),
}
_READER = (
    f"You answer a question. {_FRAME}\n\nAnswer from the passage, or from what is generally known, in at most"
    f" {ANSWER_WORDS} words. If neither says it, `answer` is null: guess nothing."
)
_ONE = {"question": _TEXT, "answer": _TEXT, "quote": {"type": "string", "maxLength": 2000}}
_WRITTEN = form(questions={"type": "array", "items": form(**_ONE)})
_READ = form(answer={"type": ["string", "null"]})


def to_write(kind: str, passage: str, n: int, known: Sequence[str], session: ChatSession) -> Question:
    """Asks for `n` questions of a kind; `known`: those that there are already."""
    wanted = '{"questions": [{"question": "...", "answer": "...", "quote": "..."}]}'
    others = f"Other questions than these: {json.dumps(list(known), ensure_ascii=False)}" if known else ""
    text = framed(passage, "passage") + others
    return to_ask(f"{ORDERS[kind].format(n=n)}\n\n{_FORM}{wanted}", text, _WRITTEN, session.endpoint)


def to_read(question: str, passage: str, session: ChatSession) -> Question:
    """Asks for the answer to a question, by somebody who hasn't seen the one that was written with it."""
    text = f"{framed(passage, 'passage')}The question: {harmless(question)}"
    return to_ask(f'{_READER}\n\n{_FORM}{{"answer": "..."}}', text, _READ, session.endpoint)


def written(reply: Reply) -> list[dict[str, str]] | None:
    """The questions in a reply; None: it isn't of the form that was asked for."""
    found = object_in(reply, _WRITTEN)
    return None if isinstance(found, str) else [dict(q) for q in found["questions"]]


def was_read(reply: Reply) -> tuple[bool, str | None]:
    """Whether a reply is of the form that was asked for, and the answer in it; None: there is none."""
    found = object_in(reply, _READ)
    return (False, None) if isinstance(found, str) else (True, found["answer"])
