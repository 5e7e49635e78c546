"""Every line of the word lists: a text that it must find, and a harmless one that looks like it. Offensive words."""

import re
import unicodedata

import pytest

from steps.contracts.records import make_row
from steps.screen.config import ScreenConfig, UnsafeConfig
from steps.screen.scan import ContentHit, ContentScanner
from steps.screen.terms import term_patterns

# What a line must find, and words that begin like it.
EXAMPLES = """
nigger|niggle   sand niggers|sand nigella   kikes|kikoi   wetback|wetbacked   beaners|beanery   gooks|gookies
these chinks|these chinkapins   chinky|chinkapin   towelheads|towelheader   raghead|ragged   camel jockey|camel jockeyed
pakis|pakistan   porch monkey|porch monkeypod   jigaboo|jigsaw   pickaninny|picket   faggot|fagotto
stupid fags|stupid fagus   trannies|transit   shemale|shem   tards|tardy   libtard|libation   fucktard|fuchsia
those retards|those retardants   retarded idiot|retardant idiom   motherfucker|motherboard   horseshit|horseshoe
kike|kikuyu
you queer|you query   cunts|cuneiform   assholes|assize   son of a bitch|son of a birch   cocksucker|cockerel
dickhead|dickens   twats|twatwa   wanker|wankel   jerk off|jerk often   blow job|blow jobbing   handjob|handjobber
rimjob|rimini   gangbang|gangbusters   cumshot|cumulus   creampie|creampiled   deepthroating|deepthroat
sluts|slutch   skank|skandha   pussies|pussycats   child porn|child porner   damned|damnation   goddamn|goddammer
crappy|crappie   pissed off|pistol   dumbass|dumbassador   asses|assess   arse|arsenal   bastard|bastardise
bollocks|bollard   bugger|buggy   douchebag|douchy   dicks|dickson   cocks|cockpit   pussy|pussyfoot   tits|titular
boobs|boobook   turd|turdus   pricks|prickly   chink|chinkara   spics|spice   dykes|dykema   fag|fagin   tranny|tranmere
coons|coontie   retarded|retardant   gypped|gypsum   halfbreed|halfbreadth   hoes|hoeing   porn|pornic
dildo|dildar   fags|fagus   neger|negeri   kanake|kanada   schwuchtel|schwund   judensau|judenburg
kümmeltürke|kümmeltür   untermenschen|untermann   bougnoule|bougnat   bicot|bicotylé   youpin|youpinois   négro|négroni
niakoué|niamey   chinetoque|chinet   pédés|pédestre   tarlouze|tarn   sudaca|sudan   negrata|negroide
maricón|maricultura   hurensohn|hure   fotze|fotosatz   wichser|wichtel   arschloch|arschwisch   schlampe|schlamm
missgeburt|missgeschick   verfickt|verfilmt   enculé|encuestado   connard|connaisseur   connasse|connaître
salope|salopette
nique ta mère|nique ta mérite   putas|putative   gilipollas|giligan   pendejo|pendel   scheiße|scheitel
beschissen|beschieden
zigeuner|zigarre   putain|putaminous   merde|merdeka   nègre|négreville   tapette|tapete   mierda|miercoles
joder|jodhpur
coño|conoce   cabrón|cabrera   marica|maricopa
"""
PAIRS = [tuple(pair.split("|")) for pair in re.split(r"\s{3,}|\n", EXAMPLES) if pair]
SEVERITY = {"slur": "high", "strong": "medium", "mild": "low"}
# Medicine, identity, places, animals, games, other languages: none of it is an insult.
HARMLESS = [
    "The gay, lesbian, bisexual and trans members of the queer film club met in Essex and Scunthorpe.",
    "Homosexual and transgender patients asked about the anus, the vulva, the penis, orgasm and breast cancer.",
    "The drug delays healing; the fire retardant was mixed with nigella seed in Niger and Nigeria.",
    "Penistone, Cockermouth, Clitheroe, Lightwater, Dickinson, Hitchcock, Wankel and Matsushita.",
    "A cocktail for the assistant of the assessor: a classic, passed on by the peacock.",
    "Le train est en gare ; plus tard, le connaisseur a mis sa salopette.",
    "Die Negation, der Kanal, der Scheitel; die Regeln gelten.",
    "La disputa por la computadora: reputación, negro, blanco y conos.",
]


@pytest.fixture(scope="module")
def scanner() -> ContentScanner:
    return ContentScanner(ScreenConfig())


def found(scanner: ContentScanner, text: str) -> list[ContentHit]:
    return scanner.find(make_row(kind="document", source="s", locator="l", raw=b"", text=text))


def deciding(hit: str) -> str | None:
    """The first line that a word matches."""
    sources = [p.source for _, p in term_patterns(UnsafeConfig())]
    return next((source for source in sources if re.fullmatch(source, hit, re.IGNORECASE)), None)


def bare(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", word) if c.isalpha())


@pytest.mark.parametrize(("severity", "source"), [(s, p.source) for s, p in term_patterns(UnsafeConfig())])
def test_each_line_has_a_hit_and_a_look_alike(scanner: ContentScanner, severity: str, source: str) -> None:
    pairs = [(hit, other) for hit, other in PAIRS if deciding(hit) == source]
    assert pairs, f"no example for {source}"
    for hit, other in pairs:
        (hit_there,) = [f for f in found(scanner, f"Oh, {hit.capitalize()}! It rains.") if f.end - f.start == len(hit)]
        assert hit_there.severity == SEVERITY[severity] and not hit_there.mention
        assert bare(other)[:3] == bare(hit)[:3]
        assert found(scanner, f"Oh, {other}! It rains.") == [], other


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_words_pass(scanner: ContentScanner, text: str) -> None:
    assert found(scanner, text) == []


@pytest.mark.parametrize("text", ["Light fell through the chinks.", "The frost retards growth.", "le retard du train"])
def test_words_with_another_meaning_are_only_flagged(scanner: ContentScanner, text: str) -> None:
    assert [f.action for f in found(scanner, text)] == ["flag"]
