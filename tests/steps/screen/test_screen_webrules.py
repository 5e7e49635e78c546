"""Each rule has a text that it takes and one at its boundary that it lets pass."""

import pytest

from steps.contracts.records import make_row, message
from steps.screen.config import C4, FineWeb, GopherQuality, RulesConfig
from steps.screen.rules import Rules
from steps.screen.webrules import c4_failure, fineweb_failure, first_preset_failure, gopher_failure

# Eight words with two stop words, 26 letters.
LINE = "the heron flew over a pond to fish"
PROSE = ("The heron flew over the pond and it saw a fish. " * 10).strip()


def words(n: int) -> str:
    return " ".join((LINE.split() * n)[:n])


@pytest.mark.parametrize(
    ("rule", "hit", "look_alike"),
    [
        ("words", words(49), words(50)),
        ("words", words(100_001), words(100_000)),
        # 40 words of 3 and 10 of 2 letters, against 50 of 3.
        ("word_length", "the and " * 20 + "to " * 10, "the and " * 25),
        ("word_length", "the and " * 2 + "abcdefghijk " * 46 + "abcdefghijklmn", "the and " * 5 + "abcdefghij " * 45),
        ("hashes", words(54) + " ######", words(55) + " #####"),
        ("ellipses", words(48) + "..." * 3 + "…" * 3 + " the end", words(48) + "..." * 2 + "…" * 3 + " the end"),
        ("bullet_lines", f"• {LINE}\n" * 10, f"• {LINE}\n" * 9 + LINE),
        ("bullet_lines", f"- {LINE}\n" * 10, f"-{LINE}\n" * 10),
        ("ellipsis_lines", f"{LINE}...\n" * 4 + f"{words(24)}\n" * 6, f"{LINE}...\n" * 3 + f"{words(24)}\n" * 7),
        ("alphabetic_words", "the and " * 20 + "1234 " * 11, "the and " * 20 + "1234 " * 10),
        ("stop_words", "the heron flew " * 20, "The heron flew, and " * 20),
    ],
)
def test_gopher(rule: str, hit: str, look_alike: str) -> None:
    failure = gopher_failure(hit, GopherQuality())
    assert failure is not None and failure[0] == rule
    assert gopher_failure(look_alike, GopherQuality()) is None


@pytest.mark.parametrize(
    ("rule", "hit", "look_alike"),
    [
        ("lorem_ipsum", PROSE + " Lorem Ipsum dolor.", PROSE + " Lorem and ipsum."),
        ("curly_bracket", PROSE + " { It is.", PROSE + " ( It is."),
        ("sentences", "We saw a heron there. We saw a fish there.", "We saw a heron. We saw it! Is it so?"),
        ("sentences", "We saw a heron there,\n" * 3, "We saw a heron there.\n" * 3),
        ("sentences", "We saw a heron there...\n" * 3, 'He said "we saw a heron there"\n' * 3),
        ("sentences", "We saw a heron.\n" * 3, "We saw a grey heron.\n" * 3),
        ("sentences", "Please enable JavaScript in your browser.\n" * 3, "Please enable Java in your browser.\n" * 3),
        ("sentences", "Read our privacy policy before you go.\n" * 3, "Read our policy before you go.\n" * 3),
        ("sentences", f"We saw a {'x' * 1_001} there.\n" * 3, f"We saw a {'x' * 1_000} there.\n" * 3),
    ],
)
def test_c4(rule: str, hit: str, look_alike: str) -> None:
    failure = c4_failure(hit, C4())
    assert failure is not None and failure[0] == rule
    assert c4_failure(look_alike, C4()) is None


def lines(n: int, end: str, size: int = 40) -> list[str]:
    return [f"{i:02d}".ljust(size - 1, "x") + end for i in range(n)]


@pytest.mark.parametrize(
    ("rule", "hit", "look_alike"),
    [
        # 12 of 100 lines, and 13 of 100.
        ("punctuated_lines", lines(12, ".") + lines(88, "y"), lines(13, "!") + lines(87, "y")),
        # 1 of 10 characters, and 1 of 11, stand in a line seen before.
        ("duplicate_line_characters", [*lines(9, "."), lines(1, ".")[0]], [*lines(10, "."), lines(1, ".")[0]]),
        # 67 of 100 lines with 29 characters, and 66; 30 characters aren't short.
        ("short_lines", lines(67, ".", 29) + lines(33, "."), lines(66, ".", 29) + lines(34, ".", 30)),
    ],
)
def test_fineweb(rule: str, hit: list[str], look_alike: list[str]) -> None:
    failure = fineweb_failure("\n\n".join(hit), FineWeb())
    assert failure is not None and failure[0] == rule
    assert fineweb_failure("\n\n".join(look_alike), FineWeb()) is None


def test_empty_texts_and_the_order_of_sets() -> None:
    assert fineweb_failure(" \n", FineWeb()) is None
    assert first_preset_failure("short {", RulesConfig()) is None
    assert first_preset_failure("short {", RulesConfig(presets=("c4", "gopher_quality"))) == ("c4.curly_bracket", 1)
    assert first_preset_failure("short {", RulesConfig(presets=("gopher_quality", "c4"))) == ("gopher_quality.words", 2)


def test_web_rules_concern_documents_only() -> None:
    rules = Rules(RulesConfig(presets=("gopher_quality", "c4", "fineweb")))
    answer = [message("user", "q"), message("assistant", "short {")]
    document = make_row(kind="document", source="s", locator="l", raw=b"", text="short {")
    conversation = make_row(kind="conversation", source="s", locator="l", raw=b"", messages=answer)
    assert rules.first_failure(document) == ("gopher_quality.words", 2)
    assert rules.first_failure(conversation) is None
