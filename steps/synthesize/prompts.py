"""What a model is asked: to write pairs, and to check them. Orders for whoever serves it, replies by schema."""

from collections.abc import Sequence

from steps.contracts.digests import value_digest
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.framing import FRAMED, framed
from steps.engines.llm.objects import form, to_ask
from steps.engines.llm.session import Question
from steps.synthesize.config import PairKind
from steps.synthesize.passages import Passage

_STRING = {"type": "string"}
_FORM = "Reply with one JSON object and nothing else: "
_GIVEN = f"You get {{what}} as one line of JSON between two marker lines. It {FRAMED}"

_KINDS: dict[PairKind, str] = {
    "fact": "Ask for facts that the passage states.",
    "how_to": "Ask how something is done that the passage explains; the answer gives the steps in their order.",
    "comparison": "Ask how two things that the passage describes differ, or what they have in common.",
    "where": (
        "Ask where something is found or read about that the passage is about. The answer says in a sentence what is"
        " there and gives `url` as it stands, whole."
    ),
    "multi_hop": (
        "There are two passages of one document. Ask what can be answered only by putting together what the first and"
        " the second say: neither alone is enough. The answer names both facts that it rests on."
    ),
    "unanswerable": (
        "Ask for a detail that belongs to the passage's subject and that it doesn't state, neither directly nor by"
        " inference; the question sounds as natural as one that has an answer. The answer says honestly that the"
        " document doesn't state it, and guesses nothing."
    ),
}
_WRITER = """\
You write questions and answers from a document, to train a language model on. {given}

{kind}

Write in the passage's language, at most {n}. Where the passage holds fewer, write fewer: an empty list is a good \
reply. A question names what it is about, so that somebody who doesn't see the passage understands it, and mentions no \
passage, text or document. An answer is whole sentences, says only what is written there, and adds nothing.
{more}
{form}{{"pairs": [{{"question": "...", "answer": "..."}}]}}"""
WRITTEN = form(pairs={"type": "array", "items": form(question=_STRING, answer=_STRING)})

_CLAIMS = """\
You check an answer against a document. {given}

Take the answer apart into its claims: every statement in it that can be true or false alone, each number, name and \
step with what is said of it. For each say whether `passages` state it (their text, headings, page or URL), and copy \
from there, exactly, the words that do: they are the claim's `evidence`, which is empty where it isn't stated. What is \
true but isn't stated there is not supported. Leave no claim out.

{form}{{"claims": [{{"claim": "...", "evidence": "...", "supported": true}}]}}"""
CLAIMS = form(claims={"type": "array", "items": form(claim=_STRING, evidence=_STRING, supported={"type": "boolean"})})

_READER = """\
You answer a question{by}. {given}

Answer in a few sentences. If you don't know, or it isn't said, `answer` is null: guess nothing.

{form}{{"answer": "..."}}"""
READ = form(answer={"type": ["string", "null"]})

_AGREES = """\
You compare two answers to a question. {given}

`agrees` is true where `second` says what `first` says in answer to the question: the same facts, figures and steps, \
in whatever words, and nothing that contradicts it. It is false where something that matters is missing or different.

{form}{{"agrees": true}}"""
AGREES = form(agrees={"type": "boolean"})

_DECLINES = """\
You look at the answer to a question. {given}

`declines` is true where the answer says that it isn't known or isn't stated, and states nothing in place of it.

{form}{{"declines": true}}"""
DECLINES = form(declines={"type": "boolean"})


def to_write(kind: PairKind, n: int, passages: Sequence[Passage], instructions: str, asked: Endpoint) -> Question:
    """Asks for at most `n` pairs of a kind."""
    what = "two passages" if len(passages) > 1 else "a passage"
    more = f"\nFor these documents in particular:\n{instructions.strip()}\n" if instructions.strip() else ""
    orders = _WRITER.format(given=_GIVEN.format(what=what), kind=_KINDS[kind], n=n, more=more, form=_FORM)
    return to_ask(orders, framed(_shown(passages), "passages"), WRITTEN, asked)


def to_find_claims(question: str, answer: str, passages: Sequence[Passage], asked: Endpoint) -> Question:
    """Asks which claims of an answer the passages support."""
    value = {"question": question, "answer": answer, "passages": _shown(passages)}
    orders = _CLAIMS.format(given=_GIVEN.format(what="a question, its answer and passages"), form=_FORM)
    return to_ask(orders, framed(value, "answer"), CLAIMS, asked)


def to_read(question: str, passages: Sequence[Passage], asked: Endpoint) -> Question:
    """Asks for the answer to a question from these passages alone, or, without any, from what the model knows."""
    value = {"question": question, "passages": _shown(passages)} if passages else {"question": question}
    what = "it with passages" if passages else "it"
    by = " from what passages say, and from nothing else" if passages else ""
    orders = _READER.format(by=by, given=_GIVEN.format(what=what), form=_FORM)
    return to_ask(orders, framed(value, "question"), READ, asked)


def to_compare(question: str, first: str, second: str, asked: Endpoint) -> Question:
    """Asks whether the second answer says what the first does."""
    orders = _AGREES.format(given=_GIVEN.format(what="them"), form=_FORM)
    return to_ask(orders, framed({"question": question, "first": first, "second": second}, "answers"), AGREES, asked)


def to_see_refusal(question: str, answer: str, asked: Endpoint) -> Question:
    """Asks whether an answer says that it isn't known."""
    orders = _DECLINES.format(given=_GIVEN.format(what="both"), form=_FORM)
    return to_ask(orders, framed({"question": question, "answer": answer}, "answer"), DECLINES, asked)


def prompt_digest(kind: PairKind, n: int, instructions: str) -> str:
    """Digest of all that the writer is told of a kind, beside the passages."""
    nobody = Endpoint(base_url="http://localhost", model="-")
    question = to_write(kind, n, [], instructions, nobody)
    return value_digest([question.messages[0], question.schema])


def _shown(passages: Sequence[Passage]) -> list[dict[str, object]]:
    return [p.shown() for p in passages]
