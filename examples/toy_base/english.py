"""Plain English sentences from a small grammar: what the toy base model learns of the language at large.

A tenth of all sentences, chosen by their own hash, is held out: `paragraph` never draws one of them, and
`held_out_paragraph` draws nothing else. So a perplexity on held-out text is measured on sentences never trained on.
"""

import hashlib
import random
from collections.abc import Callable


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


PEOPLE = _words(
    "baker teacher farmer doctor painter driver sailor nurse writer gardener farmhand singer pilot student neighbor "
    "carpenter judge waiter cook lawyer tailor shepherd dancer engineer librarian mechanic brother sister uncle aunt "
    "friend child visitor guard actor"
)
THINGS = _words(
    "letter book table door window bottle basket ladder hammer bicycle boat train radio camera piano guitar candle "
    "carpet curtain drawer engine fence hat coat jacket key kettle lamp mirror blanket clock chair teapot backpack "
    "vase rug map phone picture plate pot rope shoe spoon stone sweater ticket towel umbrella wallet watch wheel apple "
    "bread cheese soup cake coffee tea"
)
PLACES = _words(
    "garden kitchen market station harbor forest river village bridge church school hospital library museum office "
    "park shop street tower valley field mountain island beach farm theater hotel factory airport square"
)
CITIES = _words(
    "Dublin Oslo Porto Lyon Graz Turin Leeds Gdansk Paris London Rome Vienna Madrid Berlin Prague Athens Lisbon Zurich "
    "Milan Bergen Ghent Basel Cork Bilbao"
)
COLORS = _words("red blue green black white grey yellow brown orange purple pink silver")
ADJECTIVES = _words(
    "old new small large quiet loud bright dark warm cold heavy light clean dirty empty full happy sad tired hungry "
    "busy lazy brave clever kind strange simple strong weak young tall short long round broken expensive cheap soft "
    "wet dry"
)
ACTIONS = _words(
    "found lost bought sold carried opened closed cleaned repaired painted moved dropped borrowed kept watched hid "
    "brought took wanted liked saw needed made washed sent showed forgot remembered noticed counted"
)
MOTIONS = _words("walked ran went came drove returned traveled hurried moved rode sailed climbed")
STATES = _words("slept waited smiled laughed worked rested sang cried danced talked listened stayed")
ADVERBS = _words("slowly quickly quietly happily carefully often never always again soon together alone early late")
TIMES = _words(
    "in the morning|in the evening|at noon|at night|on Monday|on Tuesday|on Friday|on Sunday|last week|last year|"
    "every day|before lunch|after dinner|in the summer|in the winter|after the storm|before the rain|an hour later|"
    "two days ago|for a long time",
    "|",
)
NAMES = _words(
    "Anna Ben Clara David Emma Frank Grace Henry Irene Jack Kate Leo Maria Nora Oscar Paul Rosa Sam Tina Victor "
    "Alice Boris Carla Dora Erik Fiona Hugo Ida Jonas Karl Lena Mark Nina Olaf Petra Ruth Simon Thea Walter Yvonne"
)
# Words that letters and orders hold. Quoted in sentences, so that each is trained bare and after a space.
COMMON_WORDS = _words(
    "the be to of and a in that have I it for not on with he as you do at this but his by from they we say her "
    "she or an will my one all would there their what so up out if about who get which go me when make can like "
    "time no just him know take people into year your good some could them see other than then now look only come "
    "its over think also back after use two how our work first well way even new want because any these give day "
    "most us is are was were been has had did does doing said made went got came order ordered orders buy buying "
    "bought sell send sent ship shipped deliver delivered delivery parcel package post postage mail letter "
    "address street house home door customer customers shop store price pay paid card money bill invoice receipt "
    "number phone call called email write writing answer reply question please thank thanks kind kindly regards "
    "best wishes sincerely yours cheers greetings hello hi dear sir madam team morning afternoon evening "
    "everybody somebody nobody everything nothing something anything need needs needed likes wanted wish hope "
    "hoping looking forward birthday gift present friend wife husband daughter son cousin mother father parents "
    "colleague boss office room rooms walls living hall garage cellar attic last next week weeks weekend month "
    "months soon quick quickly fast possible today tomorrow yesterday holiday vacation christmas easter item "
    "items color colour quantity city town place article model piece pieces pair each total amount count three "
    "four five six seven eight nine ten eleven twelve forty date details following instruction previous "
    "instructions return read find extract confirm reserve choose choice prefer decided interested perfect "
    "perhaps maybe should may might must shall let many much more less few several such same every whole still "
    "already yet again here where while until before since without against near down away off own too very quite "
    "rather really sure right wrong true able ready glad happy sorry pleased lovely nice great fine wonderful "
    "pleasant awful bad poor rich better worse quality discount catalogue stock box boxes paper plastic bag wrap "
    "pack packed goods thing things arrive arrived arrives receive received leave leaves left goes turn turns "
    "keep keeps kept hold help tell told ask asked visit visited remember surprise celebrate advance meant used "
    "broke broken damaged repair stop stopped start started working learning speak language mistakes advice "
    "concern responsible complaints company service password account bank transfer cancel change problem "
    "guarantee conditions terms market school job kids children family small big short long line busy page web "
    "online button website driver doorbell knock ring bell stairs narrow late early spring autumn monday tuesday "
    "wednesday thursday friday saturday sunday road corner "
)


def paragraph(rng: random.Random, sentences: int) -> str:
    """Up to `sentences` sentences, none of them held out."""
    return " ".join(_draw(rng, held_out=False) for _ in range(rng.randint(1, sentences)))


def held_out_paragraph(rng: random.Random, sentences: int) -> str:
    """Exactly `sentences` sentences, all of them held out."""
    return " ".join(_draw(rng, held_out=True) for _ in range(sentences))


def is_held_out(sentence: str) -> bool:
    """Whether a sentence belongs to the tenth that is never trained on."""
    return hashlib.sha256(sentence.encode()).digest()[0] % 10 == 0


def _draw(rng: random.Random, *, held_out: bool) -> str:
    while True:
        text = rng.choice(_PATTERNS)(rng)
        text = text[0].upper() + text[1:] + "."
        if is_held_out(text) == held_out:
            return text


def _noun(rng: random.Random, words: tuple[str, ...]) -> str:
    word = rng.choice(words)
    if rng.random() < 0.4:
        word = f"{rng.choice(ADJECTIVES if rng.random() < 0.7 else COLORS)} {word}"
    start = rng.choice(("the", "the", "the", "a", "my", "our", "her", "his", "that"))
    return f"an {word}" if start == "a" and word[0] in "aeiou" else f"{start} {word}"


def _who(rng: random.Random) -> str:
    return rng.choice(NAMES) if rng.random() < 0.3 else _noun(rng, PEOPLE)


def _where(rng: random.Random) -> str:
    return rng.choice(CITIES) if rng.random() < 0.3 else _noun(rng, PLACES)


def _did(rng: random.Random) -> str:
    return f"{_who(rng)} {rng.choice(ACTIONS)} {_noun(rng, THINGS)}"


def _went(rng: random.Random) -> str:
    return f"{_who(rng)} {rng.choice(MOTIONS)} {rng.choice(('to', 'from', 'towards'))} {_where(rng)}"


def _was(rng: random.Random) -> str:
    return f"{_noun(rng, THINGS)} was {rng.choice(ADJECTIVES)}"


def _quoted(rng: random.Random) -> str:
    verb = rng.choice(("wrote", "read", "said", "heard", "found"))
    first, second = rng.sample(COMMON_WORDS, 2)
    if rng.random() < 0.5:
        return f'{_who(rng)} {verb} "{first}" and "{second}"'
    return f"{_who(rng)} {verb} the words {first} and {second}"


_PATTERNS: tuple[Callable[[random.Random], str], ...] = (
    _did,
    _went,
    lambda r: f"{_did(r)} in {_where(r)}",
    lambda r: f"{_did(r)} {r.choice(TIMES)}",
    lambda r: f"{_went(r)} {r.choice(TIMES)}",
    lambda r: f"{_who(r)} {r.choice(STATES)} {r.choice(ADVERBS)} {r.choice(TIMES)}",
    lambda r: f"{r.choice(TIMES)} {_did(r)}",
    lambda r: f"{_did(r)} because {_was(r)}",
    lambda r: f"{_did(r)} while {_who(r)} {r.choice(STATES)}",
    lambda r: f"{_was(r)}, but {_who(r)} {r.choice(ACTIONS)} it {r.choice(TIMES)}",
    lambda r: f"{_was(r)} and {r.choice(ADJECTIVES)}",
    lambda r: f"there was {_noun(r, THINGS)} in {_where(r)}",
    lambda r: f"{_who(r)} gave {_noun(r, THINGS)} to {_who(r)}",
    lambda r: f"when {_went(r)}, {_who(r)} {r.choice(STATES)}",
    lambda r: f"{_who(r)} said that {_was(r)}",
    _quoted,
    _quoted,
    _quoted,
)
