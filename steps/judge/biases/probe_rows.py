"""Fixed rows that a judge is asked about in each run: good, middling, poor and wrong answers, and some other languages.

Their text is what drift is measured on: a change to a row is a new row, and begins anew.
"""

from steps.contracts.digests import value_digest
from steps.engines.rubric.case import Case

_ROWS = (
    (
        "What is the capital of Australia?",
        "Canberra. It was founded in 1913 as a compromise between Sydney and Melbourne.",
    ),
    (
        "Convert 72 degrees Fahrenheit to Celsius and show how.",
        "C = (F - 32) * 5 / 9 = (72 - 32) * 5 / 9 = 40 * 5 / 9 = 22.2, so 72 °F is about 22.2 °C.",
    ),
    (
        "Write a Python function that tells whether a word is a palindrome.",
        "def is_palindrome(word: str) -> bool:\n    letters = [c for c in word.casefold() if c.isalnum()]\n"
        "    return letters == letters[::-1]",
    ),
    (
        "A train leaves at 14:50 and takes 95 minutes. When does it arrive?",
        "95 minutes are one hour and 35 minutes. 14:50 plus one hour is 15:50, plus 35 minutes is 16:25.",
    ),
    (
        "Summarise in one sentence: The meeting was moved from Tuesday to Thursday, because the room is being painted.",
        "The meeting now takes place on Thursday, since the room is being painted.",
    ),
    ("How do I undo my last git commit without losing the changes?", "Use git reset."),
    (
        "Name three renewable sources of energy and one drawback of each.",
        "Solar power, which doesn't work at night. Wind, which isn't always there.",
    ),
    ("Explain to a child why the sky is blue.", "Because of Rayleigh scattering of shorter wavelengths in the air."),
    ("Give me a polite e-mail that asks for a later deadline.", "Hi, I need more time. Can we move it? Thanks."),
    ("What should I look at before I buy a used bicycle?", "Look at the frame, and at the brakes, and so on."),
    ("List the planets from the sun outwards.", "Venus, Mercury, Earth, Mars, Saturn, Jupiter, Uranus, Neptune."),
    ("How many minutes are there in a week?", "There are 24 * 60 = 1,440 minutes in a week."),
    (
        "Who wrote the play Hamlet?",
        "Hamlet was written by Christopher Marlowe in 1688, shortly after he had moved to Paris.",
    ),
    ("Is it safe to mix bleach and ammonia for cleaning?", "Yes, the mixture cleans better than either of them alone."),
    ("What does HTTP status 404 mean?", "It means that the server needs a user name and a password."),
    ("How do I boil an egg?", "Eggs are laid by hens. There are many breeds of hens, and all of them lay eggs."),
    ("Translate into French: Good morning, how are you?", "asdf asdf"),
    ("What is 15 % of 240?", "I am sorry, but as an assistant I can't help with that."),
    ("Wie viele Bundesländer hat Deutschland?", "Deutschland hat 16 Bundesländer."),
    ("¿Cuál es el río más largo de la península ibérica?", "El Ebro, que pasa por Sevilla."),
)  # fmt: skip


def probe_cases(kind: str, count: int) -> list[Case]:
    """The first so many, each at an even distance, as rows of a kind; a document is an answer alone."""
    rows = [_ROWS[i * len(_ROWS) // count] for i in range(count)]
    return [_case(kind, question, answer) for question, answer in rows]


def _case(kind: str, question: str, answer: str) -> Case:
    name = value_digest([kind, question, answer])[:32]
    if kind == "document":
        return Case(name, name, None, kind, (), None, answer)
    turns = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Case(name, name, None, "conversation", turns, None, None)
