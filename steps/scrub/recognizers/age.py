"""AGE: a person's age in years or months, in digits. The forms are ours (chosen)."""

from collections.abc import Iterator

from steps.scrub.recognizers.forms import Form
from steps.scrub.recognizers.letters import RECOGNIZER

ENTITY = "AGE"
# The oldest documented person lived 122 years; three digits up to here are no typing errors.
_OLDEST = 122
_N = r"(?P<value>[0-9]{1,3})"
_WHO = r"(?:I|you|he|she|they|we|who|(?:my|his|her|our|their|the) [a-z]{3,12})"
# What follows an age that stands alone: the end of the clause, or the next one.
_STOP = r"(?:[.,;!?)]?(?:\s|$)(?:and|when|but|so|now|at|in)\b|[.,;!?)](?:\s|[\"']|$)|\s*$)"
_FORMS = (
    # 79 year old, 79-year-old, 6-month-old
    (rf"\b{_N}(?:\s|-)?(?:years?|yrs?|months?)(?:\s|-)(?:old|young)\b", 0.85),
    (rf"\b{_N}\s?(?:y/o|yo|y\.o\.|yrs? of age|years? of age|ans|años|Jahre alt|jährige[rnsm]?)(?:\W|$)", 0.7),
    # age 45, aged 45, at the age of 45, Age: 45, Alter: 45
    (rf"\b(?:aged?|Alter|âge|edad)(?:\s(?:of|is|was|de))?\s?[:=]?\s{{0,3}}{_N}\b(?:[^0-9.%/]|[.](?:\s|$)|$)", 0.7),
    # just turned 60, when she turned 60, since I was 12
    (rf"\b(?:just|recently|has|have|had|{_WHO}) turn(?:ed|s|ing)? {_N}\b(?:[^0-9.%/:$]|[.](?:\s|$)|$)", 0.6),
    (rf"\b(?:when|since|until|till|before|after|because|while) {_WHO}(?: was| were| is| are|'m|'s) {_N}{_STOP}", 0.6),
    # I'm 31. He is only 31, and ...
    (rf"\b(?:I am|I'm|he is|he's|she is|she's|they are|they're|he was|she was)"
     rf"(?: (?:now|only|just|already|almost|about))? {_N}{_STOP}", 0.5),
)  # fmt: skip
# Jane Roe, 45, said: the newspapers' form; a capital before the comma.
_APPOSITION = r"\b[A-Z][a-z]{2,},\s(?P<value>[1-9][0-9]),\s[A-Za-z]"


def forms() -> Iterator[Form]:
    """Ages in years or months. A name before the number is a weaker sign than the words "old" or "aged"."""
    for regex, score in _FORMS:
        yield Form(ENTITY, rf"(?im){regex}", score, confirm=is_age, recognizer=RECOGNIZER)
    yield Form(ENTITY, _APPOSITION, 0.4, confirm=is_age, recognizer=RECOGNIZER)


def is_age(value: str) -> bool:
    """Whether somebody can be so old."""
    return 1 <= int(value) <= _OLDEST and not value.startswith("0")
