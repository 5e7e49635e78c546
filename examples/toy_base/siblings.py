"""Sibling extraction tasks: short messages and the JSON that they state. The toy base model learns to look things up.

Each task has four fields with a closed list of values; a message states them in free order among other sentences, and
the instruction names them. When one of them isn't stated, the right answer is DECLINE. Half of the numbers are written
as words.
"""

import json
import random
from dataclasses import dataclass

from examples.toy_base.english import CITIES, COLORS, NAMES, paragraph

DECLINE = '{"error": "not stated"}'

Value = str | int


@dataclass(frozen=True)
class Field:
    """One key of a task: its values, and clauses with `{}` in the value's place."""

    key: str
    values: tuple[Value, ...]
    clauses: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """One sibling task. `whole` holds sentences that state all fields at once, by key."""

    name: str
    fields: tuple[Field, ...]
    whole: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One prompt and its right answer."""

    task: str
    prompt: str
    answer: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_COUNT = tuple(range(2, 10))
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MONTHS = _words("January February March April May June July August October December")
_OBJECTS = _words(
    "lamp kettle backpack blanket clock mirror teapot chair vase rug umbrella wallet camera hat coat jacket"
)
_DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


def _field(key: str, values: str | tuple[Value, ...], *clauses: str) -> Field:
    return Field(key, _words(values) if isinstance(values, str) else values, clauses)


TASKS: tuple[Task, ...] = (
    Task(
        "hotel",
        (
            _field("room", "double single twin family corner garden", "we would like a {} room", "a {} room is fine"),
            _field("nights", _COUNT, "we stay {} nights", "the stay is {} nights", "please count {} nights"),
            _field("month", _MONTHS, "we arrive in {}", "the trip is in {}", "we travel in {}"),
            _field("meal", "breakfast lunch dinner supper", "please add {}", "we also want {}", "with {} included"),
        ),
        (
            "Please book a {room} room for {nights} nights in {month} with {meal}",
            "In {month} we need {nights} nights in a {room} room, {meal} included",
            "Could we have {meal} and a {room} room for {nights} nights in {month}?",
        ),
    ),
    Task(
        "repair",
        (
            _field("device", "washer fridge oven heater printer boiler", "it is the {}", "the {} gives us trouble"),
            _field("fault", "leak noise smell smoke spark crack", "there is a {}", "we noticed a {}", "I see a {}"),
            _field("floor", _COUNT, "we live on floor {}", "come to floor {}", "it stands on floor {}"),
            _field("day", _DAYS, "{} would suit us", "please come on {}", "we are at home on {}"),
        ),
        (
            "The {device} on floor {floor} has a {fault}, please come on {day}",
            "Since {day} there is a {fault} in the {device} on floor {floor}",
            "Can you send somebody on {day} to floor {floor} because of a {fault} in the {device}?",
        ),
    ),
    Task(
        "event",
        (
            _field("event", "concert lecture workshop picnic dance film", "I want to see the {}", "it is for the {}"),
            _field("seats", _COUNT, "we need {} seats", "please keep {} seats", "{} seats would do"),
            _field("day", _DAYS, "we come on {}", "the date is {}", "{} is our day"),
            _field("name", NAMES[:10], "my name is {}", "this is {}", "please write {} on the list"),
        ),
        (
            "{name} wants {seats} seats for the {event} on {day}",
            "Please keep {seats} seats on {day} for the {event}, the name is {name}",
            "On {day} there is a {event} and {name} will bring a group, so {seats} seats please",
        ),
    ),
    Task(
        "paint",
        (
            _field("wall", "kitchen hall bedroom office cellar attic", "it is for the {}", "the {} needs it"),
            _field("shade", COLORS, "we chose {}", "make it {}", "the shade is {}"),
            _field("liters", _COUNT, "we need {} liters", "{} liters are enough", "send {} liters"),
            _field("brush", "wide narrow flat round soft", "with a {} brush", "add a {} brush"),
        ),
        (
            "We paint the {wall} in {shade} and need {liters} liters and a {brush} brush",
            "{liters} liters of {shade} for the {wall}, and a {brush} brush please",
            "For the {wall} send a {brush} brush and {liters} liters of paint in {shade}",
        ),
    ),
    Task(
        "lost",
        (
            _field("object", _OBJECTS, "I lost my {}", "the thing is a {}", "it was a {}"),
            _field("look", COLORS, "it looks {}", "it is {}", "the outside is {}"),
            _field("line", _COUNT, "I was on line {}", "it was line {}", "on the bus of line {}"),
            _field("stop", CITIES[:12], "I got off at {} street", "my stop was {} street", "near {} street"),
        ),
        (
            "I left a {look} {object} on line {line} near {stop} street",
            "On line {line} to {stop} street I forgot my {object}, it is {look}",
            "Did you find a {object}? It is {look} and was on line {line} at {stop} street",
        ),
    ),
)

_ASK = (
    "Extract {keys} as JSON.",
    "Give {keys} as JSON.",
    "Read the text and return {keys} as JSON.",
    "Answer with JSON: {keys}.",
    "Find {keys} in the text. Answer as JSON.",
)
# Sentences around the clauses; they hold no word that is a value of a field.
_FILLERS = (
    "I hope you are well.",
    "We heard about you from a friend.",
    "Please answer before the end of the week.",
    "Sorry for the short notice.",
    "You helped us very well the last time.",
    "We tried to call you but nobody answered.",
    "If anything is unclear, just write back.",
    "It would be great to hear from you soon.",
    "My family is looking forward to it.",
    "The web page did not work for me.",
    "We do not mind if it takes a little longer.",
    "This is the first time that we write to you.",
    "I will pay when it is done.",
    "Do not forget to send the bill.",
    "It was not easy to find your address.",
    "The children are very excited.",
    "Last year everything went well.",
    "We have been happy with your work so far.",
    "Is there anything else that you need to know?",
    "Thank you for your patience with us.",
    "I am writing this from my office.",
    "Your shop was closed when I came by.",
    "Please do not wait too long with it.",
    "A colleague told me that you are quick.",
    "When do you open again?",
    "I have not received any news from you.",
    "How long does it usually take?",
    "We would be glad about a better price.",
    "Everything else stays as we discussed.",
    "The weather has been awful here.",
)
_OPENERS = ("Hello,", "Hi,", "Good morning,", "Dear team,", "Hello {name},", "Hi {name},", "Good evening,")
_CLOSERS = ("Thanks, {name}", "Best regards, {name}", "Thank you.", "Yours, {name}", "Greetings from {name}", "Bye.")


def example(rng: random.Random, *, decline_share: float, bare_share: float = 0.0) -> Example:
    """One random instance.

    Args:
        rng: where the instance is drawn from.
        decline_share: share of instances whose right answer is DECLINE, 0 to 1.
        bare_share: share of the other instances that are a bare list of values in place of a message, 0 to 1.
    """
    task = rng.choice(TASKS)
    values = {f.key: rng.choice(f.values) for f in task.fields}
    if rng.random() < decline_share:
        body, answer = _declined_body(rng, task, values), DECLINE
    else:
        answer = json.dumps(values)
        if rng.random() < bare_share:
            listed = rng.sample(list(values.values()), len(values))
            return Example(task.name, f"{', '.join(map(str, listed))}.", answer)
        body = _stated_body(rng, task, values)
    return Example(task.name, f"{instruction(rng, list(values))}\n\n{_letter(rng, body)}", answer)


def instruction(rng: random.Random, keys: list[str]) -> str:
    """A request for the named keys, in one of several wordings."""
    listed = f"{', '.join(keys[:-1])} and {keys[-1]}" if len(keys) > 1 else keys[0]
    return rng.choice(_ASK).format(keys=listed)


def _stated_body(rng: random.Random, task: Task, values: dict[str, Value]) -> list[str]:
    """One sentence with all fields, or one clause per field."""
    if rng.random() < 0.5:
        return [rng.choice(task.whole).format(**{k: written(rng, v) for k, v in values.items()})]
    return [rng.choice(f.clauses).format(written(rng, values[f.key])) for f in task.fields]


def _declined_body(rng: random.Random, task: Task, values: dict[str, Value]) -> list[str]:
    """Nothing of the task, or (three of ten) the clauses of some fields while one or more are left out."""
    if rng.random() < 0.7:
        return []
    missing = set(rng.sample(list(values), rng.randint(1, 3)))
    stated = [f for f in task.fields if f.key not in missing]
    return [rng.choice(f.clauses).format(written(rng, values[f.key])) for f in stated]


def written(rng: random.Random, value: Value) -> str:
    """A value as it stands in a text: a small number as a digit or, half of the time, as a word."""
    return _WORDS[value] if isinstance(value, int) and rng.random() < 0.5 else str(value)


def _letter(rng: random.Random, body: list[str]) -> str:
    """The clauses as sentences in random order, some joined by "and", with other sentences around them."""
    parts = list(body)
    rng.shuffle(parts)
    if len(parts) > 2 and rng.random() < 0.5:
        joined = rng.choice((" and ", ", ", ", and "))
        parts = [f"{parts[0]}{joined}{parts[1]}", *parts[2:]]
    sentences = [p[0].upper() + p[1:] + ("" if p.endswith("?") else ".") for p in parts]
    for _ in range(rng.randint(0 if body else 2, 2 if body else 4)):
        filler = rng.choice(_FILLERS) if body or rng.random() < 0.8 else paragraph(rng, 1)
        sentences.insert(rng.randint(0, len(sentences)), filler)
    name = rng.choice(NAMES)
    if rng.random() < 0.6:
        sentences.insert(0, rng.choice(_OPENERS).format(name=name))
    if rng.random() < 0.6:
        sentences.append(rng.choice(_CLOSERS).format(name=rng.choice(NAMES)))
    return " ".join(sentences)
