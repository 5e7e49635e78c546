"""Normal forms of text for comparing: what counts as the same word, and as the same text."""

import re
import unicodedata

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
_WORD_OR_SYMBOL_ASCII = re.compile(r"\w+|[^\w\s]")
_WORD_OR_SYMBOL_WIDE = re.compile(rf"[\w{_MARKS}]+|[^\w\s]")
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

    With `symbols`, each other visible character is a token too ("a+b" is three tokens, not two). A text without
    any word gives its visible characters, so that "!!!" and "???" differ; blank text gives [].
    """
    text = normal_form(text)
    if text.isascii():
        found = (_WORD_OR_SYMBOL_ASCII if symbols else _WORD_ASCII).findall(text)
    else:
        spaced = SPACELESS.sub(r" \g<0> ", text)
        found = (_WORD_OR_SYMBOL_WIDE if symbols else _WORD_WIDE).findall(spaced)
    return found or [c for c in text if not c.isspace()]


def squeezed(text: str) -> str:
    """The normal form with white space collapsed to single spaces; symbols stay ("3+4" is not "3-4")."""
    return " ".join(normal_form(text).split())
