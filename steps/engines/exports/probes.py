"""What trained model and export are both asked: prompts of many kinds, and texts of many scripts to tokenise."""

import random
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from steps.contracts.records import Row
from steps.engines.exports.folder_format import Asked

# Texts in Unicode's composed form, at least, and beside them decomposed ones.
COMPOSED, DECOMPOSED = 1000, 48
_SEED = 20_260_101
# Chosen: rows of a run's test split that are asked besides; what is asked of each message.
MOST_ROWS = 16
_SAID = ("role", "content")

# First and last code points of letters, by script (Unicode's code charts).
_SCRIPTS = (
    (0x61, 0x7A), (0x41, 0x5A), (0xC0, 0xFF), (0x100, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x531, 0x586),
    (0x5D0, 0x5EA), (0x620, 0x64A), (0x904, 0x939), (0x985, 0x9B9), (0xA05, 0xA39), (0xA85, 0xAB9), (0xB85, 0xBB9),
    (0xC05, 0xC39), (0xD05, 0xD39), (0xD85, 0xDC6), (0xE01, 0xE2E), (0xE81, 0xEAE), (0xF40, 0xF6C), (0x1000, 0x102A),
    (0x10D0, 0x10FA), (0x1200, 0x1248), (0x1780, 0x17B3), (0x1820, 0x1877), (0x3041, 0x3096), (0x30A1, 0x30FA),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x13A0, 0x13EF), (0x20000, 0x2A6DF),
)  # fmt: skip
_BETWEEN = (" ", " ", " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "-", ", ", ". ", "/", "_", "")
_PIECES = (
    "it's", "I'LL", "don't", "we've", "he'd", "123", "1234567890", "3.14", "1,000,000", "2026-11-28", "12:30", "50%",
    "€9.99", "$5", "a@b.org", "https://example.org/x?y=1&z=2#q", "C:\\temp\\x", "<b>x</b>", '{"k": [1, 2, null]}',
    "def f(x):\n    return x**2\n", "  indented", "\ttab", "...", "!?!?", "====", "----", "``` ```", "#1", "[x](y)",
    "🚀", "👨\u200d👩\u200d👧", "🇩🇪", "✅\ufe0f", "👍🏽", "\u200b", "\u00ad",
    "“quoted”", "—", "…", "½", "²", "Ⅷ", "١٢٣", "४५",
    "１２", "naïve", "Straße", "İstanbul", "ẞ",
)  # fmt: skip
_ASKED = (
    "What can you do?", "Hello", "Answer in one word: what colour is the sky?", "List three fruits, one per line.",
    "  Leading and trailing space  ", "Write a JSON object with the keys name and age.", "What is 17 + 25?",
    "Wie spät ist es?", "¿Dónde está la biblioteca?", "你好，请介绍一下你自己。", "Как дела?", "مرحبا",
    "def add(a, b):\n    \"\"\"Sum.\"\"\"\n\nComplete it.",
    "Line one\nline two\r\nline three\n\n\nend", "1234567890 12:30 3.14",
    "Summarise: the quick brown fox jumps over the lazy dog, and then does it again, and again, and once more.",
)  # fmt: skip


def texts() -> list[str]:
    """COMPOSED texts in Unicode's composed form, then DECOMPOSED that aren't; all different, always the same."""
    draw = random.Random(_SEED)
    composed = dict.fromkeys(unicodedata.normalize("NFC", p) for p in _PIECES)
    while len(composed) < COMPOSED:
        composed[unicodedata.normalize("NFC", _text(draw))] = None
    decomposed: dict[str, None] = {}
    while len(decomposed) < DECOMPOSED:
        word = unicodedata.normalize("NFD", _word(draw, ((0xC0, 0xFF), (0x100, 0x17F), (0xAC00, 0xD7A3))))
        if not unicodedata.is_normalized("NFC", word):
            decomposed[word] = None
    return [*composed, *decomposed]


def prompts() -> list[Asked]:
    """Conversations that end with a question: single ones, and one that goes on."""
    single: list[Asked] = [[{"role": "user", "content": text}] for text in _ASKED]
    said = [
        {"role": "user", "content": _ASKED[0]},
        {"role": "assistant", "content": "Many things."},
        {"role": "user", "content": "Such as?"},
    ]
    return [*single, said]


def asked_rows(rows: Iterable[Row]) -> list[Asked]:
    """What plain conversations ask, up to their last turn of the assistant: the first MOST_ROWS by their ids."""
    kept = [r for r in rows if r["kind"] == "conversation" and not r["tools"] and _is_plain(r["messages"])]
    kept.sort(key=lambda r: str(r["content_id"]))
    found: list[Asked] = []
    for row in kept[:MOST_ROWS]:
        messages = [{k: m[k] for k in _SAID} for m in row["messages"]]
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        found.append(messages)
    return found


def _is_plain(messages: list[dict[str, Any]]) -> bool:
    roles = [m["role"] for m in messages]
    return (
        "user" in roles
        and set(roles) <= {"system", "user", "assistant"}
        and not any(m.get("tool_calls") for m in messages)
    )


def plain(asked: Sequence[Asked]) -> list[Asked]:
    """The same as texts to go on with, for models without a chat template."""
    return [one if isinstance(one, str) else str(one[-1]["content"]) for one in asked]


def _text(draw: random.Random) -> str:
    parts = []
    for _ in range(draw.randint(1, 12)):
        parts.append(draw.choice(_PIECES) if draw.random() < 0.3 else _word(draw, (draw.choice(_SCRIPTS),)))
        parts.append(draw.choice(_BETWEEN))
    return "".join(parts[: -1 if draw.random() < 0.8 else None])


def _word(draw: random.Random, scripts: Sequence[tuple[int, int]]) -> str:
    """Assigned characters of these scripts; of a script of letters in two cases at times the first one large."""
    first, last = draw.choice(scripts)
    letters = [chr(draw.randint(first, last)) for _ in range(draw.randint(1, 9))]
    word = "".join(c for c in letters if unicodedata.category(c) != "Cn")
    return word.capitalize() if draw.random() < 0.2 else word
