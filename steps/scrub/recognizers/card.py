"""CREDIT_CARD: lengths and issuers that presidio's recognizer leaves out, all with a valid check digit."""

from collections.abc import Iterator

from steps.scrub.recognizers.forms import Form
from steps.scrub.recognizers.letters import RECOGNIZER

ENTITY = "CREDIT_CARD"
_DIGITS = r"(?m)(?:^|[^\w.-])(?P<value>[0-9](?:[ -]?[0-9]){11,18})(?:[.]?(?:[^\w.-]|$))"
_CONTEXT = (
    "card", "cards", "cc", "credit", "debit", "visa", "mastercard", "maestro", "amex", "discover", "diners", "jcb",
    "karte", "kreditkarte", "carte", "tarjeta",
)  # fmt: skip
# First digits of an issuer (from, to, as many digits as written) and lengths: ISO/IEC 7812-1 registrations as the
# networks publish them (Visa, Mastercard, Amex, Discover, Diners, JCB old and new, Maestro, UnionPay).
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),
    ("51", "55", frozenset({16})),
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),
    ("37", "37", frozenset({15})),
    ("6011", "6011", frozenset(range(16, 20))),
    ("644", "659", frozenset(range(16, 20))),
    ("300", "305", frozenset({14, 16})),
    ("36", "36", frozenset({14, 16})),
    ("38", "39", frozenset({14, 16})),
    ("3528", "3589", frozenset(range(16, 20))),
    ("1800", "1800", frozenset({15})),
    ("2131", "2131", frozenset({15})),
    ("5018", "5018", frozenset(range(12, 20))),
    ("5020", "5020", frozenset(range(12, 20))),
    ("5038", "5038", frozenset(range(12, 20))),
    ("5893", "5893", frozenset(range(12, 20))),
    ("6304", "6304", frozenset(range(12, 20))),
    ("6759", "6763", frozenset(range(12, 20))),
    ("62", "62", frozenset(range(16, 20))),
)
# Outside these lengths (timestamps, EANs and other ids are as long) a number needs a word such as "card" before it.
_SURE = frozenset({15, 16})


def forms() -> Iterator[Form]:
    """Numbers of an issuer's form; rare lengths after a word of payment only."""
    yield Form(ENTITY, _DIGITS, 0.5, confirm=lambda v: is_card(v) and _length(v) in _SURE, recognizer=RECOGNIZER)
    yield Form(ENTITY, _DIGITS, 0.05, context=_CONTEXT, confirm=is_card, recognizer=RECOGNIZER)


def is_card(value: str) -> bool:
    """Whether an issuer has such numbers and the check digit is right (ISO/IEC 7812-1, annex B)."""
    digits = [int(c) for c in value if c.isdigit()]
    text = "".join(map(str, digits))
    if not any(first <= text[: len(first)] <= last and len(digits) in lengths for first, last, lengths in _ISSUERS):
        return False
    doubled = sum(sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return (doubled + sum(digits[-1::-2])) % 10 == 0


def _length(value: str) -> int:
    return sum(c.isdigit() for c in value)
