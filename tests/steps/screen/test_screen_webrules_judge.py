"""The published rules once more, written down from the papers without regard to speed, as judge on random texts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from steps.screen.config import C4, FineWeb, GopherQuality
from steps.screen.webrules import c4_failure, fineweb_failure, gopher_failure

PIECES = st.sampled_from(
    ["the ", "of ", "heron", " ", "\n", "\n\n", ". ", ".", "...", "…", "#", "• ", "- ", "12 ", "! ", '"', "“so”",
     "?\n", "{", "lorem ipsum ", "JavaScript ", "use cookies ", "we saw a grey heron there", "THAT ", "\u3000",
     "x" * 29, "\r\n", "。"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=30).map("".join)
STOP = {"the", "be", "to", "of", "and", "that", "have", "with"}


def lines_of(text: str) -> list[str]:
    return [x.strip() for x in text.splitlines() if x.strip() != ""]


def letters_only(text: str) -> list[str]:
    """Words as runs of letters, digits and underscores."""
    words, word = [], ""
    for c in text + " ":
        if c.isalnum() or c == "_":
            word += c
        elif word:
            words.append(word)
            word = ""
    return words


def gopher(text: str, b: GopherQuality) -> set[str]:
    """All of Gopher's rules that the text breaks (Rae et al. 2021, A1.1)."""
    words, lines = text.split(), lines_of(text)
    mean = sum(len(w) for w in words) / max(1, len(words))
    bullets = ("•", "‣", "◦", "⁃", "●", "▪", "- ", "* ", "+ ")
    dots = text.count("...") + text.count("…")
    begun = len([x for x in lines if x.startswith(bullets)])
    ended = len([x for x in lines if x.endswith("...") or x.endswith("…")])
    alphabetic = len([w for w in words if any(c.isalpha() for c in w)])
    broken = {
        "words": len(words) < b.min_words or len(words) > b.max_words,
        "word_length": mean < b.min_word_length or mean > b.max_word_length,
        "hashes": text.count("#") > b.symbols_per_word * len(words),
        "ellipses": dots > b.symbols_per_word * len(words),
        "bullet_lines": begun > b.bullet_lines * len(lines),
        "ellipsis_lines": ended > b.ellipsis_lines * len(lines),
        "alphabetic_words": alphabetic / max(1, len(words)) < b.alphabetic_words,
        "stop_words": len({w.lower() for w in letters_only(text)} & STOP) < b.stop_words,
    }
    return {rule for rule, is_broken in broken.items() if is_broken}


def c4(text: str, b: C4) -> set[str]:
    """All of C4's page rules that the text breaks (Raffel et al. 2020, 2.2)."""
    sentences = 0
    for line in lines_of(text):
        low, words = line.lower(), line.split()
        ends = line[-1] in '.!?"”’' and not line.endswith("...")
        notice = [p for p in ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
                              "use cookies", "javascript") if p in low]  # fmt: skip
        if ends and not notice and len(words) >= b.min_line_words and max(map(len, words)) <= b.max_word_length:
            # A sentence ends with a mark that is followed by white space, other marks and quotes between.
            stripped = [w.rstrip("\"'”’)]") for w in words]
            sentences += max(1, len([w for w in stripped if w.endswith((".", "!", "?"))]))
    broken = {
        "lorem_ipsum": "lorem ipsum" in text.lower(),
        "curly_bracket": "{" in text,
        "sentences": sentences < b.min_sentences,
    }
    return {rule for rule, is_broken in broken.items() if is_broken}


def fineweb(text: str, b: FineWeb) -> set[str]:
    """All of FineWeb's filters that the text breaks (Penedo et al. 2024, 3.6)."""
    lines = lines_of(text)
    if not lines:
        return set()
    marks = ".!?…\"'”’»。！？」؟۔।"
    seen_before = sum(len(x) for i, x in enumerate(lines) if x in lines[:i])
    broken = {
        "punctuated_lines": len([x for x in lines if x[-1] in marks]) / len(lines) <= b.punctuated_lines,
        "duplicate_line_characters": seen_before / sum(map(len, lines)) >= b.duplicate_line_characters,
        "short_lines": len([x for x in lines if len(x) < b.short_line_characters]) / len(lines) >= b.short_lines,
    }
    return {rule for rule, is_broken in broken.items() if is_broken}


@given(TEXTS, st.integers(0, 20), st.sampled_from([0.1, 0.3, 0.9]))
@settings(deadline=None, max_examples=300)
def test_gopher_as_in_the_paper(text: str, least: int, share: float) -> None:
    bounds = GopherQuality(min_words=least, symbols_per_word=share, bullet_lines=share, ellipsis_lines=share)
    failure, broken = gopher_failure(text, bounds), gopher(text, bounds)
    assert (failure[0] in broken) if failure else not broken


@given(TEXTS, st.integers(0, 3))
@settings(deadline=None, max_examples=300)
def test_c4_as_in_the_paper(text: str, least: int) -> None:
    bounds = C4(min_sentences=least)
    failure, broken = c4_failure(text, bounds), c4(text, bounds)
    assert (failure[0] in broken) if failure else not broken


@given(TEXTS, st.sampled_from([0.1, 0.3, 0.6]))
@settings(deadline=None, max_examples=300)
def test_fineweb_as_in_the_paper(text: str, share: float) -> None:
    bounds = FineWeb(punctuated_lines=share, duplicate_line_characters=share, short_lines=share)
    failure, broken = fineweb_failure(text, bounds), fineweb(text, bounds)
    assert (failure[0] in broken) if failure else not broken
