"""Texts full of personal data, of what nearly is, and of what surrounds it: for comparing detectors with a judge."""

import random

from hypothesis import strategies as st

VALUES = [
    "jane.doe@example.org",
    "josé@bücher.example.com",
    "+1 212-555-0142",
    "(415) 555-2671",
    "0494 92 82 32",
    "+49 (0)30 901820",
    "+44 20 7946 0958 ext. 12",
    "2125550142",
    "212-555-0142/415-555-2671",
    "3 12 45",
    "1 800 1234",
    "٠٢١٢٥٥٥٠١٤٢",
    "110\u2013112",
    "4111 1111 1111 1111",
    "378282246310005",
    "DE89 3704 0044 0532 0130 00",
    "de89370400440532013000",
    "192.168.10.77",
    "2001:db8::8a2e:370:7334",
    "::ffff:10.0.0.1",
    "::",
    "00:1b:44:11:3a:b7",
    "001b.4411.3ab7",
    "536-90-4399",
    "536 90 4399",
    "536904399",
    "912-70-1234",
    "943 476 5919",
    "A12345674",
    "bb1388568",
    "945456787",
    "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
    "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    "https://shop.example.com/a?b=1",
    '"http://example.com/x"',
    "docs.python.org",
    "İstanbul.ıo",
    "123e4567-e89b-12d3-a456-426614174000",
    "2024-05-17",
    "2024-05-17T12:30:45Z",
    "12/31/99",
    "17.5.2024",
    "12-JAN-2020",
    "12:30:45",
    "3.14159265",
    "10.1000/182",
    "1685–1753",
    "ISBN 978-3-16-148410-0",
    "a::b",
    "x@y",
    "<EMAIL_ADDRESS_K7Q2M4XA7DTR>",
    # United Kingdom, Germany, Spain
    "AB 12 34 56 C",
    "MORGA657054SM9IJ",
    "SW1A 1AA",
    "AB12 CDE",
    "86095742719",
    "15070649C103",
    "828836075",
    "C563416858",
    "HX23KH668",
    "M35YY3658",
    "HRB 12345",
    "DE136695976",
    "M-AB 1234",
    "12/345/67890",
    "10115",
    "12345678Z",
    "X1234567L",
    "AAA123456",
]
WORDS = [
    "my",
    "phone",
    "number",
    "is",
    "call",
    "call:1",
    "me",
    "mobile",
    "account",
    "bank",
    "passport",
    "nhs",
    "ssn",
    "card",
    "visa",
    "ip",
    "wallet",
    "email",
    "the",
    "and",
    "was",
    "of",
    "42",
    "medical",
    "certificate",
    "DEA",
    "license",
    "iban",
    "tax",
    "TAX",
    "re:",
    ":)",
    "#",
    "(",
    "url",
    "uuid",
    "date",
    "Kennzeichen",
    "plz",
    "Straße",
    "Steuernummer",
    "DNI",
    "pasaporte",
    "postcode",
    "nino",
    "Müller's",
    "مرحبا",
    "日本語",
    "ΟΔΟΣ",
    "1999",
    "don't",
    "\n\n",
    "  ",
]
SEPARATORS = [" ", " ", " ", "", ", ", ": ", "\n", "\t", "  "]


def generated(count: int, seed: int = 7, most_words: int = 12) -> list[str]:
    """Short texts, and long ones that are mostly plain words."""
    rng = random.Random(seed)
    texts = []
    for number in range(count):
        long = number % 4 == 0
        parts = rng.choices(WORDS, k=rng.randint(0, most_words * (12 if long else 1)))
        for _ in range(rng.randint(0, 3)):
            parts.insert(rng.randint(0, len(parts)), rng.choice(VALUES))
        texts.append(rng.choice(SEPARATORS).join(parts))
    return [*VALUES, *texts, "".join(VALUES), " ".join(VALUES), "a" * 3000, "1" * 3000, "1 " * 1500]


def near_pii() -> st.SearchStrategy[str]:
    """Values with characters put in, left out and changed, in words."""
    alphabet = st.sampled_from(list("0123456789+-./:()@ aAiIkKsSxzſıİK_#\n\u00a0\u0660９é中")) | st.characters(
        exclude_categories=["Cs"]
    )
    cut = st.builds(lambda v, a, b, new: v[:a] + new + v[b:], st.sampled_from(VALUES), _PLACE, _PLACE, alphabet)
    piece = st.one_of(st.sampled_from(VALUES), st.sampled_from(WORDS), cut, st.text(alphabet, max_size=12))
    filler = st.sampled_from(["", "", "", "word " * 80, "so\n" * 120])
    return st.builds(
        lambda parts, separator, before, behind: before + separator.join(parts) + behind,
        st.lists(piece, max_size=8),
        st.sampled_from(SEPARATORS),
        filler,
        filler,
    )


_PLACE = st.integers(0, 24)
