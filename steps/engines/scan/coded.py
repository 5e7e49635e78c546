"""Text that must be decoded before it can be read: escapes, base64, hexadecimal, spaced-out letters, digits as letters.

Only what stands for readable text is decoded: a picture in base64 stays as it is. An entity for a sign of HTML stays
too: `&#60;` is how HTML quotes a tag, `&#115;` how somebody hides a letter.
"""

import re
from binascii import Error, a2b_base64
from collections import Counter
from collections.abc import Iterator

from steps.engines.scan.patterns import Pattern

# Chosen: shorter runs can't hold a sentence; ordinary words and most paths are shorter.
_RUN_LENGTH = 24
_RUN = f"[A-Za-z0-9+/]{{{_RUN_LENGTH},}}"
# What a run holds if it may be code: two capitals after other letters (base64), or bytes of readable ASCII
# (hexadecimal). Nothing is counted between the capitals: counts that begin at each multiply in random letters.
_LIKELY = "[a-z0-9][A-Z][A-Za-z0-9+/]*[a-z0-9][A-Z]|(?:[2-7][0-9A-Fa-f]){12}"
# Percent escapes, \u and \x escapes, and entities of printable ASCII; colours of a terminal and other control signs.
_ESCAPE = (
    r"%(?P<percent>[2-7][0-9A-Fa-f])|\\(?:u00|x)(?P<slash>[2-7][0-9A-Fa-f])"
    r"|(?P<unseen>\x1b\[[0-9;]{0,9}[A-Za-z]|[\0-\x08\x0e-\x1f\x7f])"
    r"|&#(?:[xX]0{0,4}(?P<hex>[2-7][0-9A-Fa-f])|0{0,4}(?P<number>3[2-9]|[4-9]\d|1[01]\d|12[0-6]));?"
)
# Four letters or more, each by itself, with the same signs between them; other signs stand between words.
_BETWEEN = r"[ \t.*_~|/-]{1,4}"
# What a sign stands for among letters; 1 is l beside another 1 or an l, else i.
_LETTERS = str.maketrans("013457@$", "oieastas")
_TOKEN = "[A-Za-z0-9@$]"
# Not the exclamation mark, after which a space is often missing.
_SIGN_WITHIN = "[A-Za-z][013457@$]{1,3}[A-Za-z]"
_MIXED = f"{_TOKEN}{{0,30}}{_SIGN_WITHIN}{_TOKEN}{{0,30}}"
_CODED = re.compile(
    rf"{_ESCAPE}|(?P<run>(?<![A-Za-z0-9+/]){_RUN}(?:\r?\n{_RUN})*={{0,2}})"
    rf"|(?<![A-Za-z0-9])(?P<spaced>[A-Za-z](?:{_BETWEEN}[A-Za-z]){{3,}})(?![A-Za-z0-9])"
    rf"|(?<![A-Za-z0-9@$])(?P<mixed>{_MIXED})"
)
_GAP = re.compile(_BETWEEN)
_MAY_BE_RUN = re.compile(_LIKELY)
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_QUOTED_BY_HTML = frozenset("<>&\"'")
# Bytes of readable ASCII. Chosen: a tenth may be others, such as accents.
_READABLE = bytes([9, 10, 13, *range(32, 127)])
_OTHERS = 0.1
# RE2: whether a text may hold anything coded. Matches every text that `decoded` changes.
CODED = Pattern(
    "coded",
    rf"(?m)[\0-\x08\x0e-\x1f\x7f]|%[2-7][0-9A-Fa-f]|\\(?:u00|x)[2-7][0-9A-Fa-f]|&#[xX]?[0-9]|{_LIKELY}"
    rf"|(?:^|[^0-9A-Za-z])[A-Za-z](?:{_BETWEEN}[A-Za-z]){{3}}(?:$|[^0-9A-Za-z])|{_SIGN_WITHIN}",
    ignore_case=False,
)


def decoded(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, what stands for it) of everything in the text that is coded, in order."""
    for found in _CODED.finditer(text):
        start, end = found.span()
        kind = found.lastgroup
        if kind == "run":
            plain = _plain(found["run"]) if _MAY_BE_RUN.search(found["run"]) else None
            if plain is not None:
                yield start, end, plain
        elif kind == "spaced":
            yield from _closed_up(text, start, end)
        elif kind == "mixed":
            yield start, end, _lettered(found["mixed"])
        else:
            sign = _sign(found)
            if sign is not None:
                yield start, end, sign


def _sign(found: re.Match[str]) -> str | None:
    if found["unseen"]:
        return ""
    if found["percent"] or found["slash"]:
        return chr(int(found["percent"] or found["slash"], 16))
    sign = chr(int(found["hex"], 16) if found["hex"] else int(found["number"]))
    return None if sign in _QUOTED_BY_HTML else sign


def _plain(run: str) -> str | None:
    """What hexadecimal or base64 says, if that is readable; base64 may begin in the middle of a run."""
    run = "".join(run.split()).rstrip("=")
    if _HEXADECIMAL.fullmatch(run) and _is_readable(raw := bytes.fromhex(run)):
        return raw.decode("utf-8", "replace")
    for skip in range(4):
        body = run[skip:]
        # A last quarter of one letter says nothing.
        body = body[: len(body) - (len(body) % 4 == 1)]
        try:
            raw = a2b_base64(body + "=" * (-len(body) % 4))
        except Error:
            continue
        if _is_readable(raw):
            return raw.decode("utf-8", "replace")
    return None


def _is_readable(raw: bytes) -> bool:
    return len(raw.translate(None, _READABLE)) <= _OTHERS * len(raw)


def _closed_up(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    """The most frequent signs between letters (the shorter of two) stand for nothing, others for a space."""
    gaps = list(_GAP.finditer(text, start, end))
    counts = Counter(gap.group() for gap in gaps)
    usual = min(counts, key=lambda sign: (-counts[sign], len(sign), sign))
    for gap in gaps:
        yield *gap.span(), "" if gap.group() == usual else " "


def _lettered(token: str) -> str:
    return re.sub("(?<=[1l])1|1(?=[1l])", "l", token).translate(_LETTERS)
