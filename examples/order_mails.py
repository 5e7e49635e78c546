"""Made-up order mails to a shop, with the JSON that each states: the narrow task of the quickstart.

Every mail is drawn from a `random.Random` that the caller seeds. No person, address or order in it is real.
"""

import json
import random
from dataclasses import dataclass, replace

DECLINE = '{"error": "not stated"}'
ITEMS = ("lamp", "kettle", "backpack", "blanket", "clock", "mirror", "teapot", "chair", "vase", "rug")
COLORS = ("red", "blue", "green", "black", "white", "grey", "yellow", "brown")
CITIES = ("Dublin", "Oslo", "Porto", "Lyon", "Graz", "Turin", "Leeds", "Gdansk")
QUANTITIES = (2, 3, 4, 5, 6, 7, 8, 9)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

INSTRUCTIONS = (
    "Extract item, color, quantity and city as JSON.",
    "Give the item, color, quantity and city of this order as JSON.",
    "Read the mail and return item, color, quantity and city as JSON.",
    "Answer with JSON: item, color, quantity and city.",
    "Find item, color, quantity and city in the mail. Answer as JSON.",
    "Return item, color, quantity and city as JSON.",
)

# {c} color, {i} item, {I} items, {q} quantity, {t} city
_ONE = (
    "I would like to order {q} {c} {I} for delivery to {t}.",
    "Please send {q} {c} {I} to my new flat in {t}.",
    "Could you ship {q} {I} in {c} to {t}?",
    "We need {q} {I}, all of them {c}, at our office in {t}.",
    "Put me down for {q} of the {c} {I}, to be delivered in {t}.",
    "My order: {q} {I}, color {c}, destination {t}.",
    "To {t}, please: {q} {c} {I}.",
    "Our cafe in {t} is waiting for {q} {c} {I}.",
    "Is it possible to get {q} {c} {I} brought to {t} this month?",
    "For the house in {t} I want {q} {I} and they have to be {c}.",
    "I have decided on the {c} {i}; make it {q} and send them to {t}.",
    "Kindly reserve {q} {I} in {c} and post them to {t}.",
    "Since we moved to {t} we are missing {q} {c} {I}.",
    "The address is in {t}, the goods are {q} {I}, and the color should be {c}.",
    "Let me have {q} {I} for my shop in {t}, in {c} if you please.",
    "A parcel with {q} {c} {I} should go to {t}.",
    "Deliver to {t}: {I}, {q} pieces, {c}.",
    "What I need in {t} is simple, namely {q} {c} {I}.",
    "In {c}, please, {q} {I}, and everything goes to {t}.",
    "You may charge me for {q} {c} {I} and drop them off in {t}.",
    "My mother in {t} wishes for {q} {I} in {c}.",
    "This is a new order of {q} {I} ({c}) for {t}.",
    "Would you bring the {c} {i} to {t}? I take {q} of them.",
    "Send the {I} to {t}, {q} in total and each one {c}.",
    "Color {c}, {q} pieces, the model is the {i}, and it all goes to {t}.",
    "The guests in our rooms in {t} shall find {q} {c} {I}.",
    "I am buying {q} {I}; {c} is the color and {t} the place.",
    "{q} {I} for {t}, please, and only in {c}.",
)
_PAIRS = (
    (("i", "q"), "I am interested in the {i} and would take {q} of them."),
    (("i", "q"), "Please pack {q} {I} for me."),
    (("i", "q"), "This time it is {q} {I} that we are after."),
    (("i", "q"), "How much would {q} {I} cost? I want them anyway."),
    (("i", "q"), "My list says {q} {I}."),
    (("c", "t"), "They should be {c} and go to {t}."),
    (("c", "t"), "Make sure that you send {c} ones to {t}."),
    (("c", "t"), "The delivery goes to {t} and the color is {c}."),
    (("c", "t"), "In {t} we like everything {c}."),
    (("c", "t"), "The flat in {t} has {c} walls and the order should match them."),
    (("i", "c"), "I saw a {c} {i} in your window and fell in love with it."),
    (("i", "c"), "The {i} that I want is the {c} one."),
    (("i", "c"), "It is about the {c} {i} on your page."),
    (("i", "c"), "Nothing but the {i} in {c} will do."),
    (("i", "c"), "We have looked for {c} {I} everywhere."),
    (("q", "t"), "Send {q} of them to {t}."),
    (("q", "t"), "I need {q}, and the driver has to come to {t}."),
    (("q", "t"), "To our address in {t} please deliver {q} pieces."),
    (("q", "t"), "We are in {t} and want {q}."),
    (("q", "t"), "The number is {q} and the town is {t}."),
    (("i", "t"), "Do you deliver the {i} to {t}?"),
    (("i", "t"), "The {I} are meant for our rooms in {t}."),
    (("i", "t"), "I live in {t} and I am looking for {I}."),
    (("i", "t"), "Somebody in {t} told me about your {I}."),
    (("q", "c"), "I take {q} in {c}."),
    (("q", "c"), "Please choose {c}, and the amount is {q}."),
    (("q", "c"), "All {q} should be {c}."),
    (("q", "c"), "We agreed on {c}, and on {q} pieces."),
)
_SINGLES = {
    "i": (
        "I am writing about the {i}.",
        "It is the {i} that I want.",
        "We would love to have your {i}.",
        "The article is called {i}.",
        "Do you still sell the {i}?",
        "My choice is the {i}.",
    ),
    "c": (
        "The color should be {c}.",
        "I prefer {c}.",
        "Please take {c}.",
        "If you have it in {c}, that would be perfect.",
        "Only {c} fits our walls.",
        "{c} is the color of our choice.",
    ),
    "q": (
        "We need {q} of them.",
        "The quantity is {q}.",
        "Please count {q} pieces.",
        "I would take {q}.",
        "Let us say {q} in total.",
        "{q} will be enough.",
    ),
    "t": (
        "The delivery goes to {t}.",
        "Our address is in {t}.",
        "Please ship to {t}.",
        "The parcel is for {t}.",
        "I live in {t}.",
        "{t} is where it should arrive.",
    ),
}
_FILLERS = (
    "I hope that you had a {good} weekend.",
    "A {friend} of mine told me about your shop {ago}.",
    "It is meant as a present for my {friend}, who turns forty {soon}.",
    "Please let me know what the postage will be.",
    "The last parcel from you arrived {ago} and everything was {good}.",
    "I would be glad to have it {soon}, but there is no hurry.",
    "If nobody opens, leave the box with the {friend} next door.",
    "We are furnishing our {room} and it still looks rather empty.",
    "My {friend} broke the old one {ago}.",
    "Could you send me an invoice by mail?",
    "I will pay as soon as the goods are here.",
    "Your web page stopped working when I pressed the button.",
    "I tried to call {ago}, but the line was busy.",
    "Please wrap everything well, because the last box was damaged.",
    "The driver can ring at the {room} door.",
    "Sorry that I write so late, work keeps me busy.",
    "There is a discount on your page, does it hold for me too?",
    "We have been customers of yours for many years.",
    "Perhaps you remember me, I visited you {ago}.",
    "Everybody in the {room} was happy with your things.",
    "I am looking forward to your answer.",
    "Do tell me when the parcel leaves your house.",
    "It would be {good} if the delivery came {soon}.",
    "My {friend} will be at home to receive it.",
    "The weather is awful here, so please pack it against rain.",
    "Please do not call before noon, I work at night.",
    "What a {good} shop you have!",
    "Nobody else has such {good} things.",
    "I read about you in the paper {ago}.",
    "We are a small team and sit in one {room}.",
    "Is there anything that you need to know from me?",
    "Please confirm this order {soon}.",
    "Paper bags are better than plastic, if I may say so.",
    "The doorbell is broken, so please knock.",
    "My {friend} wants to surprise the whole family.",
    "You can leave it in the {room} if we are away.",
    "I hope the quality is as {good} as it was {ago}.",
    "Our holiday begins {soon}, so please be quick.",
    "Excuse my mistakes, I am still learning the language.",
    "The kids cannot wait to see it.",
    "When I asked {ago}, you had nothing in stock.",
    "Thank you for the {good} advice on the phone.",
    "By the way, the catalogue came {ago}.",
    "Our {room} will look much better then.",
    "You do not have to send a receipt.",
    "My {friend} ordered the same thing and is very pleased.",
    "A short note is enough as an answer.",
    "We will celebrate {soon} and would like to use it there.",
    "Please add a card with {good} wishes.",
    "Money is no problem this time.",
    "It took me a while to find your address.",
    "The stairs are narrow, please tell the driver.",
)
_SLOTS = {
    "good": ("good", "nice", "lovely", "great", "fine", "wonderful", "pleasant"),
    "friend": ("friend", "neighbor", "colleague", "sister", "brother", "cousin", "daughter", "boss", "uncle", "aunt"),
    "ago": ("last week", "two days ago", "last month", "in spring", "yesterday", "last year", "on Monday", "at Easter"),
    "soon": ("next week", "soon", "on Friday", "this month", "before summer", "by Tuesday", "in two weeks", "tomorrow"),
    "room": ("kitchen", "office", "garden", "hall", "bedroom", "cellar", "shop", "garage", "library", "attic"),
}
_GREETINGS = (
    "Hello,",
    "Hi there,",
    "Dear team,",
    "Good morning,",
    "Good evening,",
    "Dear Sir or Madam,",
    "Hello everybody,",
    "Hi,",
    "To whom it may concern,",
    "Dear shop,",
    "Greetings,",
    "Good day,",
)
_CLOSINGS = (
    "Best regards, {n}",
    "Thanks, {n}",
    "Kind regards, {n}",
    "Yours sincerely, {n}",
    "Cheers, {n}",
    "Many thanks in advance, {n}",
    "Thank you, {n}",
    "All the best, {n}",
    "{n}",
    "See you, {n}",
    "With best wishes, {n}",
    "Bye, {n}",
)
_FIRST = (
    "Anna Ben Clara David Emma Frank Grace Henry Irene Jack Kate Leo Maria Nora Oscar Paul Rosa Sam Tina Victor "
    "Alice Boris Carla Dora Erik Fiona Hugo Ida Jonas Karl Lena Mark Nina Olaf Petra Ruth Simon Thea Walter Yvonne"
)
_LAST = (
    "Adler Berg Conti Dahl Egan Falk Gruber Holm Ivers Jansen Keller Lind Moreau Novak Olsen Pires Quinn Rossi "
    "Silva Toms Urban Vogel Weber Young Zeman"
)
_OFF_TOPIC = (
    "When do you open on {day}?",
    "Do you have a shop near the station?",
    "I never got an answer to my last letter.",
    "Your driver was very rude to my {friend} {ago}.",
    "Please take me off your mailing list.",
    "Can I pay by bank transfer?",
    "How do I change my password?",
    "Are you looking for people to work in your {room}?",
    "The invoice that came {ago} has a wrong date on it.",
    "What happens if I am not at home?",
    "I only wanted to say that the service was {good}.",
    "Could you send me your new catalogue?",
    "Where can I find your terms and conditions?",
    "Do you repair old things as well?",
    "May I send something back that I do not like?",
    "My {friend} lost the receipt, is that a problem?",
    "Is the {day} market still taking place?",
    "How long is the guarantee?",
    "I got a parcel that was not for me.",
    "Who is responsible for complaints at your company?",
    "Do you speak other languages on the phone?",
    "Please cancel what I ordered {ago}.",
    "The music in your shop is far too loud.",
    "Would you like to advertise in our school paper?",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_KEYS = {"i": "item", "c": "color", "q": "quantity", "t": "city"}


@dataclass(frozen=True)
class Mail:
    """One mail as sentences between a greeting and a closing (either may be ""), and the right answer."""

    instruction: str
    greeting: str
    sentences: tuple[str, ...]
    closing: str
    answer: str

    @property
    def body(self) -> str:
        """The mail's text, one paragraph."""
        return " ".join(part for part in (self.greeting, *self.sentences, self.closing) if part)

    @property
    def prompt(self) -> str:
        """What the model is asked: instruction, blank line, mail."""
        return f"{self.instruction}\n\n{self.body}"


def order(rng: random.Random) -> Mail:
    """A mail that states all four fields."""
    values = _values(rng)
    kind = rng.random()
    if kind < 0.45:
        parts = [rng.choice(_ONE)]
    elif kind < 0.75:
        parts = _two_sentences(rng)
    else:
        parts = [rng.choice(_SINGLES[k]) for k in rng.sample("icqt", 4)]
    answer = json.dumps({name: values[key] for key, name in _KEYS.items()})
    return _mail(rng, [_state(rng, p, values) for p in parts], rng.randint(1, 2), answer)


def unanswerable(rng: random.Random) -> Mail:
    """A mail that states no order at all, or leaves out one or two of the four fields."""
    if rng.random() < 0.6:
        parts = [_fill(rng, p) for p in rng.sample(_OFF_TOPIC, 2)]
        return _mail(rng, parts, rng.randint(1, 2), DECLINE)
    values = _values(rng)
    stated = rng.sample("icqt", rng.randint(2, 3))
    pairs = [p for p in _PAIRS if set(p[0]) <= set(stated)]
    parts = []
    if pairs and rng.random() < 0.5:
        pair = rng.choice(pairs)
        parts.append(pair[1])
        stated = [k for k in stated if k not in pair[0]]
    parts += [rng.choice(_SINGLES[k]) for k in stated]
    return _mail(rng, [_state(rng, p, values) for p in parts], rng.randint(1, 2), DECLINE)


def filler(rng: random.Random) -> str:
    """One sentence that says nothing about the order."""
    return _fill(rng, rng.choice(_FILLERS))


def with_sentence(rng: random.Random, mail: Mail, sentence: str) -> Mail:
    """The mail with one more sentence somewhere."""
    at = rng.randint(0, len(mail.sentences))
    return replace(mail, sentences=(*mail.sentences[:at], sentence, *mail.sentences[at:]))


def reworded(rng: random.Random, mail: Mail) -> Mail:
    """The mail with one small change outside the order: greeting, closing, instruction or a sentence more."""
    change = rng.randrange(4)
    if change == 0:
        return replace(mail, greeting=rng.choice(_GREETINGS))
    if change == 1:
        return replace(mail, closing=_closing(rng))
    if change == 2:
        return replace(mail, instruction=rng.choice(INSTRUCTIONS))
    return with_sentence(rng, mail, filler(rng))


def wrong_answer(rng: random.Random, mail: Mail) -> Mail:
    """The same mail with another answer: one or two fields changed."""
    answer = json.loads(mail.answer)
    choices: dict[str, tuple[object, ...]] = {"item": ITEMS, "color": COLORS, "quantity": QUANTITIES, "city": CITIES}
    for key in rng.sample(sorted(answer), rng.randint(1, 2)):
        answer[key] = rng.choice([v for v in choices[key] if v != answer[key]])
    return replace(mail, answer=json.dumps(answer))


def _values(rng: random.Random) -> dict[str, object]:
    return {"i": rng.choice(ITEMS), "c": rng.choice(COLORS), "q": rng.choice(QUANTITIES), "t": rng.choice(CITIES)}


def _two_sentences(rng: random.Random) -> list[str]:
    keys, first = rng.choice(_PAIRS)
    rest = set("icqt") - set(keys)
    second = rng.choice([text for k, text in _PAIRS if set(k) == rest])
    return [first, second] if "i" in keys else [second, first]


def _state(rng: random.Random, template: str, values: dict[str, object]) -> str:
    """The template with its values; a quantity is a digit or, in three of ten mails, a word."""
    item, number = str(values["i"]), int(str(values["q"]))
    written = _WORDS[number] if rng.random() < 0.3 else str(number)
    text = template.format(i=item, I=f"{item}s", c=values["c"], q=written, t=values["t"])
    return text[0].upper() + text[1:]


def _fill(rng: random.Random, template: str) -> str:
    return template.format(**{k: rng.choice(v) for k, v in _SLOTS.items()}, day=rng.choice(_DAYS))


def _closing(rng: random.Random) -> str:
    last = f" {rng.choice(_LAST.split())}" if rng.random() < 0.5 else ""
    return rng.choice(_CLOSINGS).format(n=rng.choice(_FIRST.split()) + last)


def _mail(rng: random.Random, order_parts: list[str], fillers: int, answer: str) -> Mail:
    """The parts in their order, with `fillers` other sentences before, between and after them."""
    sentences = list(order_parts)
    for template in rng.sample(_FILLERS, fillers):
        sentences.insert(rng.randint(0, len(sentences)), _fill(rng, template))
    greeting = rng.choice(_GREETINGS) if rng.random() < 0.8 else ""
    closing = _closing(rng) if rng.random() < 0.85 else ""
    return Mail(rng.choice(INSTRUCTIONS), greeting, tuple(sentences), closing, answer)
