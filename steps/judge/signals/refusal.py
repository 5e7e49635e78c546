"""Whether an answer declines what was asked and gives nothing in its place. An apology alone is no refusal.

English, German, French, Spanish, Italian, Portuguese, Chinese and Japanese.
"""

import re

from steps.judge.signals.passage import Passage

_DECLINES = re.compile(
    # English
    r"\b(?:i|we)(?: am|'m| are|'re)?(?: just| simply| really| therefore| also)?"
    r" (?:can(?:no|')t|can not|could not|couldn't|unable to|not able to|won't|will not|must decline to|refuse to"
    r"|have to decline to|not allowed to|not permitted to|not comfortable|not in a position to|not going to)"
    r"(?: \w+ly)? (?!help but\b|help \w+ing\b)"
    r"(?:help|assist|provid|fulfil|complet|comply|answer|do|giv|shar|discuss|creat|writ|generat|support|engag|respond"
    r"|produc|offer|read|open|access|view|see|process|brows|predict|continu)\w*"
    r"|\b(?:i|we) (?:must|have to|respectfully) decline\b|\bi don't feel comfortable\b"
    r"|\b(?:cannot|can't|unable to|not able to) (?:assist|comply|fulfil)\b"
    # German
    r"|\b(?:kann|können|darf|werde|möchte) (?:ich |wir )?(?:[\w,]+ ){0,8}?nicht (?:\w+ ){0,2}?"
    r"(?:weiter|be)?(?:helfen|antworten|unterstützen|reitstellen|erfüllen|nachkommen|erstellen|schreiben|geben|tun|lesen"
    r"|behilflich)"
    r"|\bnicht (?:in der lage|möglich),? (?:\w+ ){0,6}?zu (?:\w*helfen|\w*antworten|unterstützen|erfüllen|erstellen)"
    # French
    r"|\bje ne (?:peux|puis|pourrai|suis) (?:malheureusement )?(?:pas )?(?:en mesure |capable )?(?:de |d')?"
    r"(?:vous |t'|te |y )?(?:aider|répondre|fournir|donner|accéder|assister|satisfaire|écrire|faire|traiter)"
    # Spanish, Portuguese, Italian
    r"|\bno (?:puedo|podemos|podré|me es posible)(?: \w+)? (?:ayudar|responder|proporcionar|cumplir|hacer|asistir|dar"
    r"|escribir|ofrecer)\w*"
    r"|\bnão (?:posso|podemos|consigo)(?: \w+)? (?:ajudar|responder|fornecer|cumprir|fazer|escrever|dar|atender)\w*"
    r"|\bnon (?:posso|possiamo|sono in grado di)(?: \w+)? (?:aiutar|risponder|fornir|soddisfar|far|scriver|dar)\w*"
    # Chinese, Japanese
    r"|(?:我|我们)?(?:无法|不能|没办法)(?:为您|为你|向您|向你)?(?:提供|回答|帮助|协助|满足|完成)"
    r"|(?:お手伝い|お答え|ご提供|提供|対応|お応え)(?:は|することは|することが)?でき(?:ません|かねます)"
)
# Plain substrings, one of which every match holds: ten times faster to look for than the pattern.
_HINTS = (
    "n't ", "not ", "unable", "decline", "refuse", "nicht", "je ne ", "no p", "no me ", "não ", "non p", "non sono",
    "无法", "不能", "没办法", "でき",
)  # fmt: skip
# What stands around a refusal and answers nothing: apologies, what the speaker is, offers, wishes.
_EMPTY = re.compile(
    r"^\W*(?:(?:i(?:'m| am)|we(?:'re| are)) (?:\w+ )?(?:sorry|afraid|an? |designed|programmed|here)|sorry"
    r"|(?:my )?apolog|i apolog|unfortunately|thank|as an? |if (?:you|there)|let me know|please|feel free|is there"
    r"|are there|i can |i could |i(?:'d| would|'ll| will) be (?:happy|glad)|i(?:'d| would) (?:suggest|recommend)"
    r"|would you|instead\b|my (?:purpose|goal|role)"
    r"|es tut mir|tut mir|entschuldig|leider|als ki|ich bin|wenn |falls |bitte|gerne|ich kann |lass "
    r"|je suis|désolé|navré|malheureusement|en tant qu|si vous|si tu|n'hésite|je peux|veuillez"
    r"|lo siento|lamento|disculp|perdón|como (?:modelo|ia|una|un)|si (?:tienes|tiene|necesita|quiere)|por favor"
    r"|estoy|puedo"
    r"|sinto muito|desculp|se (?:você|precisar|hai|vuoi)|posso|mi dispiace|purtroppo|scus|in quanto"
    r"|抱歉|对不起|很抱歉|非常抱歉|作为|如果|请|申し訳|すみません|恐れ入り)"
)
_PIECES = re.compile(r"[.!?…。！？;\n]+|,? ?\b(?:but|however|aber|jedoch|mais|pero|mas|ma|though)\b,? ?|，|、")
# Chosen: a refusal is short; what goes on for longer gives something.
_MOST_CHARS = 1_000
# Chosen: so many words (characters, where words aren't spaced, divided by three) are no answer yet.
_FEW_WORDS = 8


def refuses(answer: Passage) -> bool:
    """Whether one of the first pieces of a short answer declines, and the others hold nothing else."""
    text = answer.folded_lines.replace("’", "'")
    if len(text) > _MOST_CHARS or not any(hint in text for hint in _HINTS) or not _DECLINES.search(text):
        return False
    pieces = [piece.strip() for piece in _PIECES.split(text) if piece.strip(" ,\"'*")]
    declining = [bool(_DECLINES.search(piece)) for piece in pieces]
    if not any(declining[:4]):
        return False
    rest = [p for p, d in zip(pieces, declining, strict=True) if not d and not _EMPTY.search(p)]
    return sum(map(_words, rest)) < _FEW_WORDS


def _words(piece: str) -> int:
    return max(len(piece.split()), sum(c > "\u2e7f" for c in piece) // 3)
