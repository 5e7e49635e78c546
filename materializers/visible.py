"""Text that can't deceive: for HTML and for the terminal alike."""

import unicodedata

# "Cs" lone surrogates, "Cc" control characters, "Cf" invisible ones (bidi overrides, zero-width, tags).
_HIDDEN = ("Cc", "Cf", "Cs")
# Kept: line feed and tab, and the two joiners that Persian, Indic scripts and emoji need.
_HARMLESS = "\n\t\u200c\u200d"


def visible(text: str) -> str:
    """The text with control, bidirectional, zero-width and lone surrogate characters as '�'."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join("�" if c not in _HARMLESS and unicodedata.category(c) in _HIDDEN else c for c in text)
