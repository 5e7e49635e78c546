"""Texts of kinds that are full of numbers and codes and hold no personal data; every pattern detector at once."""

import pytest

from steps.scrub.config import Locale, ScrubConfig
from steps.scrub.detector import Detector, Findings

BENIGN = {
    "versions": "Python 3.11.4, numpy 2.4.6, build 22000.1335, kernel 5.15.0-91-generic, torch==2.1.0, react@18.2.0",
    "books": "ISBN 978-3-16-148410-0, ISBN-10 0-306-40615-2, ISBN 9780306406157, ISSN 2049-3630",
    "papers": "doi:10.1000/182, arXiv:2301.12345v2, PMID 31978945, pp. 123-145; vol. 12(3):45-67; Fig. 3; eq. (12)",
    "hashes": "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad fixes 7f3a2b1; md5 9e107d9d372bb6826bd81d3542a419d6",
    "integrity": 'integrity="sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC"',
    "data url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhg",
    "code": "for (int i = 0; i < 100000; i++) { a[i] = b[i] * 0x7fffffff; } std::vector<int> v(12345); x::y",
    "constants": "x = 3.14159265358979, e = 2.718281828459045, 6.02214076e23, 1/137.035999",
    "secrets in code": "password = getpass(); secret = get('secret'); key = keys[0]; def f(password: str = None): pass",
    "placeholders": '"password": "string", "token": "<your token>", "apiKey": "YOUR_API_KEY_HERE"',
    "sql": "SELECT * FROM t WHERE id = 4471902 AND ts > 1700000000;",
    "recipe": "2 1/2 cups flour, 3/4 tsp salt, bake at 350F for 25-30 minutes; 1 (14.5 oz) can",
    "scores": "The Lakers won 102-98, 6-4 6-3 7-6(5), 21-14-3; record 10-2-1",
    "chess": "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 1-0",
    "chemistry": "C6H12O6 + 6O2 -> 6CO2 + 6H2O; CAS 58-08-2, CAS 7732-18-5; H2SO4; [Fe(CN)6]4-",
    "columns": "12345 67890 13579 24680 112233 445566",
    "travel": "Room 101, Suite 16, Flight BA2490, Gate B12, Exit 5, Highway 66, Route 128",
    "money": "1,234,567.89 EUR; $1234567; 100000 yen; 1.000.000 Euro; 12 345,67 PLN",
    "verses": "Psalm 119:105, John 3:16, 1 Corinthians 13:4-7",
    "standards": "Part number A1010-55, model B-1000, RFC 2616, ISO 8601, IEEE 802.11ac, P0420",
    "goods": "UPC 036000291452, EAN 4006381333931, SKU 8846-22-1, GTIN 00012345600012, IMO 9074729",
    "pictures": "4K 60fps at 3840x2160, 16:9, f/2.8, ISO 6400; color #ff5733, rgb(255, 87, 51)",
    "stars": "RA 05h 35m 17.3s Dec -05 23 28; 12.3456, 65.4321, 7.1234; latitude in degrees",
    "words": "The account of the battle; member number one; policy no. one; plan number 9; group number 4 of the table",
    "handles": "@decorator, a@b, foo@bar, me@localhost, user@host:~$",
    "short numbers": "5-0, 3-2-1 go, 911, 1-800-FLOWERS, 007, 24/7, 50/50",
}  # fmt: skip
LOCALES: tuple[Locale, ...] = ("en_US", "en_GB", "de", "fr", "es")


@pytest.fixture(scope="module")
def found() -> dict[str, Findings]:
    config = ScrubConfig(
        profile=("hipaa", "gdpr", "pci", "secrets"), accept_uncovered=("PERSON", "LOCATION"), locales=LOCALES
    )
    return dict(zip(BENIGN, Detector(config).find(list(BENIGN.values())), strict=True))


@pytest.mark.parametrize("kind", BENIGN)
def test_nothing_is_found(found: dict[str, Findings], kind: str) -> None:
    """By any entity of any profile and locale, and so of the default ones."""
    assert found[kind] == []
