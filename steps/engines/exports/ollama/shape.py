"""What a chat template writes around the contents of messages, found by rendering conversations whose contents are
known: what stands between two neighbours, by their roles, and what is done to contents.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steps.contracts.errors import TrainingDataError

# Messages, and what a request says of thinking, to the text of the prompt; TrainingDataError where they are refused.
Renders = Callable[[Sequence[Mapping[str, Any]], bool | None], str]

# A system message at the beginning is a kind of its own: many templates treat others otherwise, or not at all.
FIRST = "first"
_ROLES: Mapping[str, str] = {"s": "system", "u": "user", "a": "assistant"}
# Conversations by their roles' letters: everything that stands beside another, prompts that end with a user first.
_ORDERS = (
    "u", "su", "uau", "suau", "uauau", "suauau", "uasu", "suasu", "au", "sau", "usu", "uasau", "ua", "sua", "uaua", "a",
    "s", "us", "sa",
)  # fmt: skip
_PADDED = " \n"
_WORD, _OTHER = "Quillfeather", "Umbraferry"


@dataclass(frozen=True)
class Shape:
    """A chat template as its outside shows it.

    Attributes:
        between: what stands before a message, by what stands before it ("": the beginning), its role, and whether it is
            the last one. None: it isn't written there. What is missing is refused.
        ends: the prompt's end, by the last message's role.
        switched: the prompt's end behind a user's message where a request switches thinking on, and where off.
        trimmed: roles whose contents lose white space at both ends.
        empty: roles whose messages aren't written where they are empty.
        system: where system messages stand: in their place, the last of them at the front of all, or the first before
            the last message.
        thinks: the template knows think tags, so that Ollama takes reasoning out of answers.
    """

    between: Mapping[tuple[str, str, bool], str | None]
    ends: Mapping[str, str]
    switched: tuple[str, str]
    trimmed: frozenset[str]
    empty: frozenset[str]
    system: Literal["place", "front", "last"]
    thinks: bool


@dataclass(frozen=True)
class _Piece:
    before: str
    role: str
    last: bool
    text: str | None


def shape_of(renders: Renders, template: str) -> Shape:
    """Whatever is found of a template; where it does more than a shape can say, whoever compares will see it."""
    system = _place_of_system(renders)
    between: dict[tuple[str, str, bool], str | None] = {}
    ends: dict[str, str] = {}
    for order in _ORDERS:
        for piece in _pieces(renders, order, system):
            if piece.role:
                between.setdefault((piece.before, piece.role, piece.last), piece.text)
            elif piece.text is not None:
                ends.setdefault(piece.before, piece.text)
    if system == "last":  # never alone before the last message
        between.pop(("", FIRST, True), None)
    plain = ends.get("user", "")
    on, off = (next((p.text for p in _pieces(renders, "u", system, t) if not p.role), plain) for t in (True, False))
    trimmed = frozenset(role for role, order in (("user", "u"), ("assistant", "uau"), ("system", "su")) if
                        _trims(renders, order, role))  # fmt: skip
    empty = frozenset(role for role, order in ((FIRST, "su"), ("system", "uasu")) if _drops_empty(renders, order))
    thinks = "<think>" in template and "</think>" in template
    return Shape(between, ends, (on or "", off or ""), trimmed, empty, system, thinks)


def _messages(order: str, content: Callable[[str, int], str]) -> list[dict[str, Any]]:
    return [{"role": _ROLES[letter], "content": content(letter, place)} for place, letter in enumerate(order)]


def _text(renders: Renders, messages: Sequence[Mapping[str, Any]], think: bool | None = None) -> str | None:
    """None where the template refuses them."""
    try:
        return renders(messages, think)
    except TrainingDataError:
        return None


def _pieces(renders: Renders, order: str, system: str, think: bool | None = None) -> Iterator[_Piece]:
    """Texts between the messages of one conversation; none where it is refused."""
    text = _text(renders, _messages(order, lambda _, place: f"{_WORD}{place}x"), think)
    if text is None:
        return
    places = list(range(len(order)))
    roles = {i: FIRST if letter == "s" and i == 0 else _ROLES[letter] for i, letter in enumerate(order)}
    held = [i for i in places if order[i] == "s"]
    if held and system == "front":
        roles[held[-1]], places = FIRST, [held[-1], *(i for i in places if i not in held)]
    elif system == "last" and held[:1] == [0]:
        places = [*places[1:-1], 0, *places[1:][-1:]]
    before, at = "", 0
    for place in places:
        word = f"{_WORD}{place}x"
        found = text.find(word, at)
        last = place == places[-1]
        yield _Piece(before, roles[place], last, text[at:found] if found >= 0 else None)
        if found >= 0:
            before, at = roles[place], found + len(word)
    yield _Piece(before, "", True, text[at:])


def _place_of_system(renders: Renders) -> Literal["place", "front", "last"]:
    early = _text(renders, _messages("suau", lambda letter, place: f"{_WORD}{place}x"))
    late = _text(renders, _messages("uasu", lambda letter, place: f"{_WORD}{place}x"))
    if late is not None and 0 <= late.find(f"{_WORD}2x") < late.find(f"{_WORD}0x"):
        return "front"
    if early is not None and early.find(f"{_WORD}2x") < early.find(f"{_WORD}0x") < early.find(f"{_WORD}3x"):
        return "last"
    return "place"


def _trims(renders: Renders, order: str, role: str) -> bool:
    """Whether white space around contents of a role goes."""
    padded = f"{_PADDED}{_WORD}{_PADDED}"
    text = _text(renders, _messages(order, lambda letter, _: padded if _ROLES[letter] == role else _OTHER))
    return text is not None and _WORD in text and padded not in text


def _drops_empty(renders: Renders, order: str) -> bool:
    """Whether a conversation with an empty system message is rendered as the one without it."""
    text = _text(renders, _messages(order, lambda letter, _: "" if letter == "s" else _OTHER))
    return text is not None and text == _text(renders, _messages(order.replace("s", ""), lambda *_: _OTHER))
