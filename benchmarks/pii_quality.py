"""How well scrub finds personal data: precision and recall on labelled texts, wrong flags on real rows, code too.

Prints three tables as Markdown. Patterns were tuned on the even template ids of the labelled file; the odd ones are
reported. A flagged row is wrong when any of its findings is; whether a finding is right is said by the rules below or,
where they can't tell, by the hand-made list beside this file, whose keys are digests of the finding with what stands
before it. What neither knows counts as wrong. Right means: the text is what its entity says (an address, a number
that can be dialled), whoever's it is. Public addresses, hotlines and example.com therefore count as right.

    ASSAY_BENCH_DATA=FOLDER python benchmarks/pii_quality.py [--unknown]

`--unknown` also prints what is to be judged by hand, raw, for the person who extends the list.
"""

import gzip
import hashlib
import ipaddress
import itertools
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import phonenumbers
from code_rows import library_definitions
from measure import data_folder

from ops.commands.eval_pii import COLUMNS, table
from steps.contracts.evaluation import Estimate
from steps.engines.scoring.wilson import wilson
from steps.scrub.config import DEFAULT_ENTITIES, ScrubConfig
from steps.scrub.detectors import Detectors
from steps.scrub.evaluation.evaluation import PiiEvaluation, evaluate
from steps.scrub.evaluation.labelled import LABEL_NAMES, of_templates, read_labelled
from steps.scrub.findings import Finding
from steps.scrub.recognizers.builtin import BuiltinDetector
from steps.scrub.redactor import Redactor

LABELLED, ROWS = "presidio_synth_v2.json", "t0.jsonl.gz"
JUDGED = Path(__file__).with_name("pii_judged.json")
FIRST = 10_000
# Wanted on the odd templates, and of the default config on real rows; both chosen.
LEAST_F1 = {
    "EMAIL_ADDRESS": 0.99, "IBAN_CODE": 0.99, "IP_ADDRESS": 0.99, "US_SSN": 0.99, "CREDIT_CARD": 0.9,
    "PHONE_NUMBER": 0.8, "DATE_TIME": 0.8, "STREET_ADDRESS": 0.6, "ZIP_CODE": 0.6, "AGE": 0.6, "TITLE": 0.6,
}  # fmt: skip
MOST_WRONG_PER_10K = 100
# What the patterns beside presidio's may cost one text of 500 characters in which they find nothing; chosen.
MOST_MICROSECONDS = 15
_ROW_CHARACTERS = 500
_BEFORE = 32
_REGIONS = ("US", "GB", "DE", "FR", "ES")
_EMAIL = re.compile(r"[\w.+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}")
# A version such as 6.2.9200.16384: dots only, and a part of one digit.
_VERSION = re.compile(r"(?:\d+\.){2,}\d+")


FLAG_COLUMNS = (
    "rows", "flagged", "wrongly", "wrongly per 10,000 (95 %)", "distinct findings", "of them wrong", "wrong findings"
)  # fmt: skip


class Flag(NamedTuple):
    row: int
    entity: str
    value: str
    before: str

    @property
    def key(self) -> str:
        """16 hex characters; the words before make it useless for guessing the value."""
        said = "\0".join((self.entity, " ".join(self.before.split()), self.value))
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def main() -> dict[str, bool]:
    """Print the tables. Returns what is wanted of them, and whether it is so."""
    folder = data_folder("pii_quality", LABELLED, ROWS)
    done = odd_templates(folder / LABELLED)
    print(markdown(COLUMNS, table(done)), end="\n\n")
    scores = {entity: done.overlap[entity].f1 for entity in LEAST_F1}
    met = {f"{e} F1 >= {LEAST_F1[e]}": f1 is not None and f1.value >= LEAST_F1[e] for e, f1 in scores.items()}
    rows = read_rows(folder / ROWS)
    show_unknown = "--unknown" in sys.argv
    lines, most = wrong_flags(rows, show_unknown)
    print(markdown(FLAG_COLUMNS, lines), end="\n\n")
    code, most_in_code = wrong_flags([[text] for text in library_definitions()], show_unknown)
    print("Functions and classes of Python's library and its tests:\n")
    print(markdown(FLAG_COLUMNS, code), end="\n\n")
    spent = microseconds(rows)
    print(f"own patterns, default config: {spent:.1f} CPU microseconds per {_ROW_CHARACTERS} characters without a hit")
    return met | {
        f"wrongly flagged rows per 10,000 < {MOST_WRONG_PER_10K}": most < MOST_WRONG_PER_10K,
        f"wrongly flagged rows of code per 10,000 < {MOST_WRONG_PER_10K}": most_in_code < MOST_WRONG_PER_10K,
        f"microseconds per row < {MOST_MICROSECONDS}": spent < MOST_MICROSECONDS,
    }


def read_rows(path: Path) -> list[list[str]]:
    """The strings of each row of a gzipped JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [[value for value in json.loads(line).values() if isinstance(value, str)] for line in file]


def microseconds(rows: list[list[str]]) -> float:
    """CPU time of the own patterns on pieces of 500 characters in which they find nothing, per piece; median of 5."""
    detector = BuiltinDetector(ScrubConfig())
    pieces = [text[:_ROW_CHARACTERS] for texts in rows[:FIRST] for text in texts if len(text) >= _ROW_CHARACTERS]
    empty = [piece for piece in pieces if not detector.find(piece)]
    spent = []
    for _ in range(5):
        start = time.process_time()
        for piece in empty:
            detector.find(piece)
        spent.append(time.process_time() - start)
    return 1e6 * statistics.median(spent) / len(empty)


def odd_templates(path: Path) -> PiiEvaluation:
    """Scores on the odd templates: all locales, every entity that patterns find."""
    entities = (*DEFAULT_ENTITIES, "AGE", "DATE_TIME", "TITLE")
    config = ScrubConfig(entities=entities, locales=("en_US", "en_GB", "de", "fr", "es"))
    return evaluate(of_templates(read_labelled(path), "odd", str(path)), config, LABEL_NAMES)


def wrong_flags(rows: list[list[str]], show_unknown: bool) -> tuple[list[list[str]], float]:
    """Lines under FLAG_COLUMNS for the first 10,000 rows and for all, and the former's upper end per 10,000 rows."""
    flags = list(flagged(rows))
    judged: dict[str, bool] = json.loads(JUDGED.read_text())
    if show_unknown:
        for key, flag in {f.key: f for f in flags if verdict(f, judged) is None}.items():
            print(json.dumps([key, flag.entity, flag.before, flag.value]))
    few = min(FIRST, len(rows))
    first = _wrong_rows(few, flags, judged)
    lines = [_line(n, flags, judged) for n in (few, len(rows))]
    return lines, 1e4 * first.high


def _wrong_rows(n: int, flags: list[Flag], judged: dict[str, bool]) -> Estimate:
    """The share of the first n rows in which some finding is wrong."""
    share = wilson(len({f.row for f in flags if f.row < n and not verdict(f, judged)}), n)
    assert share is not None
    return share


def _line(n: int, flags: list[Flag], judged: dict[str, bool]) -> list[str]:
    here = [f for f in flags if f.row < n]
    wrong = [f for f in here if not verdict(f, judged)]
    share = _wrong_rows(n, flags, judged)
    by_entity = Counter(f.entity for f in wrong)
    return [
        f"first {n:,}",
        f"{len({f.row for f in here}):,}",
        f"{len({f.row for f in wrong}):,}",
        f"{1e4 * share.value:.1f} ({1e4 * share.low:.1f}-{1e4 * share.high:.1f})",
        *(str(len({f.key for f in some})) for some in (here, wrong)),
        ", ".join(f"{e} {c}" for e, c in by_entity.most_common()),
    ]


def flagged(rows: list[list[str]]) -> Iterator[Flag]:
    """Every finding of the default config, as the stage replaces it."""
    config = ScrubConfig()
    with Detectors(config) as detectors:
        found = Redactor(config, b"no key is needed to count").find(itertools.chain(*rows), detectors)
    for number, texts in enumerate(rows):
        for text in texts:
            findings: list[Finding] = found[text] or []
            for f in findings:
                yield Flag(number, f.entity, text[f.start : f.end], text[max(0, f.start - _BEFORE) : f.start])


def verdict(flag: Flag, judged: dict[str, bool]) -> bool | None:
    """Whether the finding is right, by rule or by hand; None when neither knows."""
    value = flag.value
    if flag.key in judged:
        return judged[flag.key]
    if flag.entity == "EMAIL_ADDRESS":
        return _EMAIL.fullmatch(value) is not None
    if flag.entity == "IP_ADDRESS":
        return _is_ip(value)
    if flag.entity == "PHONE_NUMBER" and _VERSION.fullmatch(value) and min(map(len, value.split("."))) == 1:
        return False
    if flag.entity == "PHONE_NUMBER" and any(_can_be_dialled(value, region) for region in _REGIONS):
        return True
    return None


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_interface(value.partition("%")[0])
    except ValueError:
        return False
    return True


def _can_be_dialled(value: str, region: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def markdown(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows)])


if __name__ == "__main__":
    main()
