"""Each own pattern: what it finds, and what only looks like it."""

import random

import pytest

from steps.scrub.config import ScrubConfig
from steps.scrub.detector import Detector
from steps.scrub.recognizers.builtin import BUILTIN, BuiltinDetector
from steps.scrub.recognizers.card import is_card
from steps.scrub.recognizers.iban import is_iban
from steps.scrub.recognizers.labelled_phones import is_number

EVERYWHERE = ("en_US", "en_GB", "de", "fr", "es")


@pytest.fixture(scope="module")
def own() -> dict[str, BuiltinDetector]:
    return {e: BuiltinDetector(ScrubConfig(entities=(e,), locales=EVERYWHERE)) for e in BUILTIN}


def found(detector: BuiltinDetector, text: str) -> list[str]:
    return [text[f.start : f.end] for f in detector.find(text)]


HITS = {
    "STREET_ADDRESS": [
        ("she moved to 12 Oak Street last year", "12 Oak Street"),
        ("ship it to 4711 N. Elm St, please", "4711 N. Elm St"),
        ("ship it to 88 Rose Hill Ave.\nSpringfield, IL 62704\nthanks", "88 Rose Hill Ave.\nSpringfield, IL 62704"),
        ("to 12 Oak Blvd #144 Springfield, IL 62704", "12 Oak Blvd #144 Springfield, IL 62704"),
        ("from 12 Oak Street, Springfield il 62704 on", "12 Oak Street, Springfield il 62704"),
        ("at 7 Mill Lane, Ambridge, BO4 6QT today", "7 Mill Lane, Ambridge, BO4 6QT"),
        ("er wohnt Lindenstraße 7b in Bern", "Lindenstraße 7b"),
        ("an: Am Markt 3, 12345 Neustadt.", "Am Markt 3, 12345 Neustadt"),
        ("Storgatan 5, 123 45 Nystad, tack", "Storgatan 5, 123 45 Nystad"),
        ("ul. Polna 3, 00-123 Nowe", "ul. Polna 3, 00-123 Nowe"),
        ("Goethestr. 12, 10623 Berlin", "Goethestr. 12, 10623 Berlin"),
        ("j'habite 14 bis, rue de la Paix à Lille", "14 bis, rue de la Paix"),
        ("vive en Calle de Alcalá, 42 desde mayo", "Calle de Alcalá, 42"),
        ("abita in Via Garibaldi 9 a Roma", "Via Garibaldi 9"),
        ("write to P.O. Box 1234, Springfield, IL 62704", "P.O. Box 1234, Springfield, IL 62704"),
        ("Postfach 1020", "Postfach 1020"),
        ("PSC 4711, Box 1234\nAPO AE 09498", "PSC 4711, Box 1234\nAPO AE 09498"),
        ("deliver to 55 Holm 12 Apt. 3", "55 Holm 12 Apt. 3"),
        ("> 12 Oak Street\n> Apt. 3\n> Springfield, IL 62704", "12 Oak Street\n> Apt. 3\n> Springfield, IL 62704"),
        ("send it to 12 oak street apt 4 ok", "12 oak street apt 4"),
        ("Jane Roe\nNordby 12\nNeustadt 12345", "Nordby 12\nNeustadt 12345"),
        ("wait at the corner of Fifth Avenue and Main Street", "the corner of Fifth Avenue and Main Street"),
        ("our address is Nordby 12.", "Nordby 12"),
    ],
    "ZIP_CODE": [
        ("ZIP: 62704", "62704"),
        ("my zip code is 62704-1234", "62704-1234"),
        ("PLZ 8001", "8001"),
        ("code postal : 75002", "75002"),
        ("Springfield, IL 62704", "62704"),
        ("postcode SW1A 1AA", "SW1A 1AA"),
        ("the zip of my town is 62704, I think", "62704"),
        ("Springfield, Illinois 62704", "62704"),
        ('{"postal_code": "62704"}', "62704"),
        ("zip_code=62704", "62704"),
        ("62704 is my new zip code", "62704"),
        ("I live in Neustadt 12345.", "12345"),
        ("somewhere near SW1A 1AA", "SW1A 1AA"),
        ("Portland OR 97205", "97205"),
        ("zip for this: 123-4567", "123-4567"),
        # a town and its own code
        ("Springfield 62704", "62704"),
        ("to beverly hills, 90210-1234 now", "90210-1234"),
        ("St. Louis\n63101\n", "63101"),
        ("62704 Springfield", "62704"),
        ("Winston-Salem 27101", "27101"),
        # where somebody or something is placed
        ("it rains in Neustadt 12345 again", "12345"),
        ("any pharmacy near 12345?", "12345"),
        ("we ship to 12345-6789.", "12345-6789"),
        ("houses in the 12345 area", "12345"),
        ("Jane Roe\n12 Nordby\nApt. 3\nNeustadt\n123 45\n", "123 45"),
        ("> Nordby 12\n> Neustadt\n> 7412 SL", "7412 SL"),
        ("Neustadt, 12345, Germany", "12345"),
        ("D-12345 Neustadt", "D-12345"),
        ("CH-8001 Neustadt", "CH-8001"),
        ("er wohnt jetzt in 12345 Neustadt", "12345"),
        ("elle habite à 12345 Neuville", "12345"),
        ("vive ahora en 12345 Villanueva", "12345"),
    ],
    "AGE": [
        ("a 79 year old man", "79"),
        ("a 6-month-old boy", "6"),
        ("she is 34 y/o", "34"),
        ("at the age of 45 he left", "45"),
        ("Age: 61", "61"),
        ("my sister just turned 30", "30"),
        ("I was scared when I was 12.", "12"),
        ("I'm 31 and single", "31"),
        ("Roe, 45, said so", "45"),
        ("Patientin, 53 Jahre alt", "53"),
    ],
    "TITLE": [
        ("ask Dr. Roe", "Dr."),
        ("Mrs Roe is in", "Mrs"),
        ("hello mr. roe", "mr."),
        ("Frau Roe kommt", "Frau"),
        ("Jane Roe\nSenior network administrator\nAcme", "Senior network administrator"),
        ("Jane Roe, the chief pilot, said no", "chief pilot"),
        ("Occupation: court clerk", "court clerk"),
    ],
    "DATE_TIME": [
        ("born 2/8/1935", "2/8/1935"),
        ("on 1978-04-13 12:20:39 sharp", "1978-04-13 12:20:39"),
        ("am 3.10.1990", "3.10.1990"),
        ("12 March 2004", "12 March 2004"),
        ("March 12th, 2004", "March 12th, 2004"),
        ("since the 4th of July", "4th of July"),
        ("geboren am 12. März 2004", "12. März 2004"),
        ("le 1er janvier 1999", "1er janvier 1999"),
        ("el 3 de mayo de 1980", "3 de mayo de 1980"),
        ("founded in 1977.", "1977"),
        ("at 5:30 p.m. sharp", "5:30 p.m."),
        ("see you on Monday", "Monday"),
    ],
    "PHONE_NUMBER": [
        ("Phone:\n60-56-85-91\n", "60-56-85-91"),
        ("call me at 78 651 450", "78 651 450"),
        ("Tel. (99) 645-791", "(99) 645-791"),
        ("my mobile is 0961-7596216.", "0961-7596216"),
        ("78 651 450 is my phone", "78 651 450"),
        ("Jane Roe\n78 651 45 02\nAcme", "78 651 45 02"),
        ("you can reach me under 467 3395", "467 3395"),
        ("fax 21 284 698 2548 x12", "21 284 698 2548 x12"),
    ],
    "CREDIT_CARD": [
        ("pay with 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("card 4222222222222", "4222222222222"),
        ("old one: 180000000000002", "180000000000002"),
        ("my maestro card: 501800000009", "501800000009"),
    ],
    "IBAN_CODE": [
        ("iban de89370400440532013000", "de89370400440532013000"),
        ("pay to GB82 WEST 1234 5698 7654 32 now", "GB82 WEST 1234 5698 7654 32"),
        ("on NO93 8601 1117 947", "NO93 8601 1117 947"),
        ("fr14-2004-1010-0505-0001-3M02-606", "fr14-2004-1010-0505-0001-3M02-606"),
    ],
}
LOOK_ALIKES = {
    "STREET_ADDRESS": [
        "the 1929 Wall Street crash",
        "9 Supreme Court justices",
        "3 District Court judges ruled",
        "It cost $10 Million Drive or not",
        "where Highway 6 and Highway 7 meet",
        "Formula 1 and Windows 10",
        "Spring 2004, String 5, Brigade 46",
        "the Plaza Accord 1985",
        "Chong, 49, of High Street",
        "30 St. Louis Cardinals fans",
        "100 meters from the street",
        "Suite 16 is a song, Unit 731 a book",
        "open Chapter 12, Room 5",
        "Room 101, Suite 16, Gate 12",
        "they return to Formula 1 next year",
        "A man lives in Room 5.",
        "BP 120, HR 80",
        "1 Corinthians 13, 2 Kings 4",
        "on the corner of the table",
        "et al. Smith 2004",
        "I Am Legend 2 was never made",
        "On May 12, Washington said that 20000 people came",
        "I have 3 cats, apt 5 is theirs",
        "def place(x): return 12 * drive",
    ],
    "ZIP_CODE": [
        "unzip 7 files",
        "zip the file archive.zip 2",
        "10000 people",
        "In Illinois 62704 people",
        "he lived in Rome 1950.",
        "order 62704 arrived",
        "OK 5 items",
        "SW1A1AA2 is a part",
        "zip(a, b)",
        "ZIP codes were introduced in 1963",
        "SAVED IN 10000 CASES OR 20000 OK 30000",
        "Springfield has 62704 people, Shelbyville 55555",
        "Springfield 55555, order 62704",
        "Springfield 62704.5 and $62704 Springfield",
        "in Iraq 12000 people and 12000 US troops",
        "crashes in Build 22000, in Order 12345 and to Windows 12345.",
        "in May 1192, near Akko 1191.",
        "Rank 1\nNeustadt\nPeople\n12345\n23456\n",
        "the forecast for 12345 units, near 50000 of them",
        "in 12345 Fällen, à 20000 euros",
        "RFC-1234 Draft, B-1000 Pro, A4-12345",
        "unzip 12345",
    ],
    "AGE": [
        "version 45 of 60",
        "page 45",
        "the 20 year plan",
        "it turned 30 degrees",
        "I'm 100% sure",
        "he is 1.5 m tall",
        "Chapter, 12",
        "a 500 year old tree",
        "the Bronze Age 3000 years ago",
    ],
    "TITLE": [
        "a drive along the coast",
        "Missing persons",
        "John M. Roe and D. Doe",
        "She is a teacher",
        "the driver of the car was the cook",
        "Donations welcome",
        "10 mr",
        "nurse, field, farmer",
    ],
    "DATE_TIME": [
        "version 1.2.3",
        "ratio 16/9/4",
        "the score was 3-2-1",
        "I may 5 times",
        "room 1977b",
        "order 1977",
        "0-306-40615-2",
        "march 12345",
    ],
    "PHONE_NUMBER": [
        "call me on 2004-05-17",
        "the call lasted 3.14159265 s",
        "phone costs $1234567",
        "8134 567 712 apples",
        "the calls of 1999-2004",
        "phone 123-45",
        "my account number is 1234 567 890",
        "serial number: 123-4567-89",
        "the number 4567890123",
        "so the number of seats is 3300-1100=2200 and the number left 1500 - 3000",
        "12 345 678\n1 000 000\n1999-2004",
    ],
    "IBAN_CODE": [
        "de89370400440532013001",
        "de8937040044053201300",
        "ab12 word here them this",
        "commit de89370400440532013000f",
    ],
    "CREDIT_CARD": [
        "card 4111111111111112",
        "4222222222222 of something",
        "doi 10.4111/111111111111",
        "card 1234567890128",
        "12 to 99",
    ],
}


@pytest.mark.parametrize(("entity", "text", "value"), [(e, t, v) for e, hits in HITS.items() for t, v in hits])
def test_hits(own: dict[str, BuiltinDetector], entity: str, text: str, value: str) -> None:
    assert value in found(own[entity], text)


@pytest.mark.parametrize(("entity", "text"), [(e, t) for e, texts in LOOK_ALIKES.items() for t in texts])
def test_look_alikes(own: dict[str, BuiltinDetector], entity: str, text: str) -> None:
    assert found(own[entity], text) == []


def test_the_first_pass_loses_nothing(own: dict[str, BuiltinDetector]) -> None:
    """Against the detectors alone, on all texts above, in a row and one by one, and on random pieces of them."""
    rng = random.Random(11)
    texts = [t for hits in HITS.values() for t, _ in hits] + [t for some in LOOK_ALIKES.values() for t in some]
    whole = "\n".join(texts)
    pieces = [whole[a : a + rng.randint(1, 60)] for a in rng.choices(range(len(whole)), k=400)]
    everything = BuiltinDetector(ScrubConfig(entities=tuple(sorted(BUILTIN)), locales=EVERYWHERE))
    seen = 0
    for detector in (*own.values(), everything):
        for text in (*texts, *pieces):
            plain = [f for part in detector._detectors for f in part.find(text)]
            assert detector.find(text) == plain, text
            seen += len(plain)
    assert seen > 300


def test_every_kind_has_both() -> None:
    assert HITS.keys() == LOOK_ALIKES.keys() == BUILTIN
    assert all(len(texts) >= 4 for kind in (HITS, LOOK_ALIKES) for texts in kind.values())


def test_a_whole_address_is_one_finding() -> None:
    """The postal code in it is no second value: the stage merges what overlaps."""
    text = "Send it to 12 Oak Street, Suite 4\nSpringfield, IL 62704\nby Monday."
    config = ScrubConfig(entities=("STREET_ADDRESS", "ZIP_CODE"))
    (findings,) = Detector(config).find([text])
    assert findings is not None
    whole = max(findings, key=lambda f: f.end - f.start)
    assert text[whole.start : whole.end] == "12 Oak Street, Suite 4\nSpringfield, IL 62704"
    assert all(whole.start <= f.start and f.end <= whole.end for f in findings)


def test_threshold_and_wanted_entities() -> None:
    text = "Dr. Roe, 45, of 12 Oak Street"
    assert BuiltinDetector(ScrubConfig(entities=("EMAIL_ADDRESS",))).find(text) == []
    ages = ScrubConfig(entities=("AGE",), thresholds={"AGE": 0.5})
    assert BuiltinDetector(ages).find(text) == []


def test_check_digits_are_those_of_the_standard() -> None:
    """Of all ten last digits exactly one is right, whatever comes before."""
    rng = random.Random(5)
    for _ in range(200):
        prefix, length = rng.choice([("4", 16), ("4", 13), ("34", 15), ("5018", 12), ("36", 14), ("4", 19)])
        body = prefix + "".join(rng.choices("0123456789", k=length - len(prefix) - 1))
        assert sum(is_card(body + last) for last in "0123456789") == 1
    numbers = [f"DE{check:02}370400440532013000" for check in range(2, 99)]
    assert [n for n in numbers if is_iban(n)] == ["DE89370400440532013000"]
    assert not is_card("9" * 16) and not is_card("41111111111111")


def test_a_telephone_number_is_no_date() -> None:
    assert (
        is_number("60-56-85-91") and not is_number("2004-05-17") and not is_number("12.5") and not is_number("1" * 16)
    )


@pytest.mark.parametrize(
    "text", ["", "\x00", "\u202e12 Oak Street\u202c", "12 " * 20_000, "A" * 200_000, "Apt 1 " * 5_000]
)
def test_hostile_texts_are_searched(text: str) -> None:
    """In linear time: the longest of these takes well under a second."""
    config = ScrubConfig(entities=tuple(sorted(BUILTIN)), locales=EVERYWHERE)
    (findings,) = Detector(config).find([text])
    assert findings is not None
    assert all(0 <= f.start < f.end <= len(text) for f in findings)


def test_what_the_policy_makes_of_presidios_findings() -> None:
    """Under the default config: a version is no telephone number, and the small letters of an IBAN don't hide it."""
    texts = ["build number 6.2.9200.16384", "number 1.800.555.0142", "de89370400440532013000"]
    found = Detector(ScrubConfig()).find(texts)
    assert [sorted({f.entity for f in findings or ()}) for findings in found] == [[], ["PHONE_NUMBER"], ["IBAN_CODE"]]
    assert {f.recognizer for f in found[2] or ()} == {"IbanRecognizer", "own patterns"}
