"""Normal forms of text for comparing: what counts as the same word, and as the same text."""

import re
import unicodedata
from collections.abc import Iterator

# Scripts written without spaces, one token per character: Thai, Lao, Tibetan, Myanmar, Khmer, Japanese kana,
# Han (with extensions and compatibility forms). Hangul and Indic scripts separate words by spaces.
SPACELESS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
# Python's \w leaves out combining marks, which would cut Arabic, Hebrew and Indic words into pieces.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
WORD_CHARACTER = re.compile(rf"[\w{_MARKS}]")
_WORD_ASCII = re.compile(r"\w+")
_WORD_WIDE = re.compile(rf"[\w{_MARKS}]+")
# Words, symbols, and the white space in which lines begin.
_TOKEN = re.compile(rf"(?P<word>[\w{_MARKS}]+)|(?P<symbol>[^\w\s])|[^\S\n\r]+|(?P<line>[\n\r])")
# A line that begins farther in than the last one, or farther out: tokens of their own beside those of symbols, which
# are one character each.
DEEPER, SHALLOWER = ">>", "<<"
# To what a tab goes on, as Python's own tokeniser has it; blocks nested deeper than this count as no deeper.
TAB, MOST_LEVELS = 8, 64
# Marks of prose: quotation marks say nothing; stops and dashes only before a digit that no letter precedes (3.14,
# -5) or before = (!=, :=).
QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a\u00ab\u00bb\u300c-\u300f"
STOPS = ".,;:!?\u00a1\u00bf\u3001\u3002\u30fb"
DASHES = "\u2010\u2012-\u2015\u2212"
_IS_QUOTE, _IS_STOP = re.compile(f"[{QUOTES}]"), re.compile(f"[{STOPS}-]")
_IS_DASH = re.compile(f"[{DASHES}]")
_DIGITS = "0123456789"
# What a reader doesn't see (zero-width characters, joiners, direction marks, fillers, variation selectors, tags) is no
# part of a word: Default_Ignorable_Code_Point of Unicode 15, DerivedCoreProperties.txt; first and last of each range.
INVISIBLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_INVISIBLE = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in INVISIBLE) + "]+")


def normal_form(text: str) -> str:
    """Unicode NFKC, invisible characters removed, case folded."""
    if text.isascii():
        return text.lower()
    folded = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()
    return unicodedata.normalize("NFKC", folded)


def words(text: str, *, symbols: bool = False) -> list[str]:
    r"""Tokens of the normal form: runs of letters, digits, marks and `_`; one per character in spaceless scripts.

    With `symbols`, each other visible character is a token too ("a+b" is three tokens, not two), and so is each step
    of a line's indentation against the line before, whatever its width. A text without any word gives its visible
    characters, so that "!!!" and "???" differ; blank text gives [].
    """
    text = normal_form(text)
    if symbols:
        found = list(_with_symbols(text))
    elif text.isascii():
        found = _WORD_ASCII.findall(text)
    else:
        found = _WORD_WIDE.findall(_spaced(text))
    return found or _visible(text)


def telling_words(text: str) -> list[str]:
    """Words, and the symbols that say something: what two answers must share to be one answer.

    Marks of prose and of Markdown say nothing ("well, *yes*!" is "Well yes"); operators, signs of numbers and all
    other symbols do.
    """
    text = normal_form(text)
    found: list[str] = []
    for line in re.split(r"[\n\r]", _IS_DASH.sub("-", text)):
        for match in _TOKEN.finditer(line):
            if match["word"]:
                found += _WORD_WIDE.findall(_spaced(match["word"]))
            elif match["symbol"] and _tells(line, match.start()):
                found.append(match["symbol"])
    return found or _visible(text)


def _tells(line: str, at: int) -> bool:
    """Whether the symbol at this place of a line says something."""
    symbol, before, after = line[at], line[at - 1] if at else " ", line[at + 1 : at + 2] or " "
    if _IS_QUOTE.match(symbol):
        return False
    if _IS_STOP.match(symbol):
        return after == "=" or (after in _DIGITS and not _is_letter(before))
    if symbol == "*":
        return _multiplies(line, at)
    # Headings and quoted lines.
    return symbol not in "#>" or bool(line[:at].replace("#", "").replace(">", "").strip())


def _multiplies(line: str, at: int) -> bool:
    """Whether an asterisk stands between two values, and doesn't begin a list or mark a word."""
    left, right = line[:at].rstrip("*"), line[at:].lstrip("*")
    if left[-1:].strip() and right[:1].strip():
        return (_is_word(left[-1]) or left[-1] in ")]") and (_is_word(right[0]) or right[0] in "([")
    return bool(left.strip()) and not left[-1:].strip() and not right[:1].strip()


def _is_word(character: str) -> bool:
    return WORD_CHARACTER.match(character) is not None


def _is_letter(character: str) -> bool:
    return _is_word(character) and character not in _DIGITS


def _with_symbols(text: str) -> Iterator[str]:
    levels: list[int] = []
    width, begun = 0, False
    for match in _TOKEN.finditer(text):
        if match["line"]:
            width, begun = 0, False
            continue
        if not (match["word"] or match["symbol"]):
            width = width if begun else _width(match.group())
            continue
        if not begun:
            begun = True
            yield from _steps(levels, width)
        yield from _WORD_WIDE.findall(_spaced(match["word"])) if match["word"] else [match["symbol"]]


def _width(blank: str) -> int:
    """Columns of the white space in which a line begins."""
    width = 0
    for character in blank:
        width = (width // TAB + 1) * TAB if character == "\t" else width + 1
    return width


def _steps(levels: list[int], width: int) -> Iterator[str]:
    """The steps from the line before, whose blocks begin at `levels`, to a line of this width; `levels` follow."""
    while levels and width < levels[-1]:
        levels.pop()
        yield SHALLOWER
    if levels and width > levels[-1] and len(levels) < MOST_LEVELS:
        yield DEEPER
    if (not levels or width > levels[-1]) and len(levels) < MOST_LEVELS:
        levels.append(width)


def _spaced(text: str) -> str:
    return text if text.isascii() else SPACELESS.sub(r" \g<0> ", text)


def _visible(text: str) -> list[str]:
    return [c for c in text if not c.isspace()]


def squeezed(text: str) -> str:
    """The normal form with white space collapsed to single spaces; symbols stay ("3+4" is not "3-4")."""
    return " ".join(normal_form(text).split())
