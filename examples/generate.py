"""Write the example data: the quickstart's mails with planted flaws, and the control sets.

    python examples/generate.py           write examples/quickstart and examples/controls
    python examples/generate.py --check   exit 1 when a file there differs from what would be written

Standard library only. The same code gives the same bytes on every machine.
"""

import argparse
import csv
import io
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import planting  # noqa: E402
from order_mails import Mail, order, reworded, unanswerable, with_sentence, wrong_answer  # noqa: E402
from plain_english import SENTENCES  # noqa: E402

from examples.toy_base.english import held_out_paragraph  # noqa: E402

SEED = "assay quickstart 1"
# Rows per kind; chosen so that the folder stays below 2.5 MB and at least 1,800 rows survive.
ORDERS, UNANSWERABLE, PII = 2_000, 480, 270
EXACT_COPIES, NEAR_COPIES, FAR_COPIES = 180, 140, 70
INJECTIONS, SCRIPTS, PROFANE, JUNK, CONTRADICTIONS, BROKEN = 42, 20, 25, 80, 45, 30
CONTROL_UNANSWERABLE, CONTROL_GRAMMAR = 120, 110
# No two rows that aren't planted copies are as alike as this (word 3-gram Jaccard over prompt and answer).
MOST_ALIKE = 0.6
NEAR, FAR = (0.72, 0.97), (0.45, 0.68)
FILES = {"messages.jsonl": 0.4, "alpaca.json": 0.2, "sharegpt.jsonl": 0.2, "pairs.csv": 0.2}


@dataclass(frozen=True)
class Planted:
    """One row with a flaw: its kind, what is known about it, and the row that it was made from."""

    kind: str
    details: dict[str, Any]
    original: int | None = None


@dataclass
class Entry:
    """One row of the quickstart. `at` is its (file, locator) once it is written; `raw` replaces a broken row."""

    number: int
    mail: Mail
    planted: Planted | None = None
    raw: str | None = None
    at: tuple[str, str] = field(default=("", ""))

    @property
    def shingles(self) -> frozenset[tuple[str, ...]]:
        """Word 3-grams of prompt and answer."""
        return planting.shingles(text_of(self.mail))


def text_of(mail: Mail) -> str:
    """The row as one text, as copies are compared."""
    return f"{mail.prompt}\n\n{mail.answer}"


class Distinct:
    """Accepts mails that are less than MOST_ALIKE to every mail accepted before."""

    def __init__(self) -> None:
        self._sets: list[frozenset[tuple[str, ...]]] = []
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def accept(self, mail: Mail) -> bool:
        """Whether the mail is new enough; it is remembered if so."""
        new = planting.shingles(text_of(mail))
        shared: Counter[int] = Counter()
        for shingle in new:
            shared.update(self._holders[shingle])
        for other, count in shared.items():
            if count / (len(new) + len(self._sets[other]) - count) >= MOST_ALIKE:
                return False
        for shingle in new:
            self._holders[shingle].append(len(self._sets))
        self._sets.append(new)
        return True


def draw(rng: random.Random, make: Callable[[random.Random], Mail], count: int, distinct: Distinct) -> list[Mail]:
    """`count` mails that are not alike."""
    mails: list[Mail] = []
    while len(mails) < count:
        mail = make(rng)
        if distinct.accept(mail):
            mails.append(mail)
    return mails


def build() -> tuple[list[Entry], list[Mail]]:
    """All rows of the quickstart, and the mails of the control set of unanswerable ones."""
    rng = random.Random(SEED)
    distinct = Distinct()
    clean = draw(rng, order, ORDERS, distinct) + draw(rng, unanswerable, UNANSWERABLE, distinct)
    control = draw(rng, unanswerable, CONTROL_UNANSWERABLE, distinct)
    entries = [Entry(i, mail) for i, mail in enumerate(clean)]
    _plant_sentences(rng, entries, distinct)
    _plant_answers(rng, entries, distinct)
    _plant_copies(rng, entries, clean)
    return entries, control


def _add(entries: list[Entry], mail: Mail, planted: Planted, raw: str | None = None) -> None:
    entries.append(Entry(len(entries), mail, planted, raw))


def _plant_sentences(rng: random.Random, entries: list[Entry], distinct: Distinct) -> None:
    """Rows whose mail holds personal data, an attack or rude words."""
    people = planting.people(rng, 90)
    for mail in draw(rng, order, PII, distinct):
        text, found = planting.pii(rng, people)
        details = {"entities": [{"type": f.type, "value": f.value} for f in found]}
        _add(entries, with_sentence(rng, mail, text), Planted("pii", details))
    for mail in draw(rng, order, INJECTIONS, distinct):
        text, family = planting.injection(rng)
        _add(entries, with_sentence(rng, mail, text), Planted("injection", {"family": family, "text": text}))
    for mail in draw(rng, order, SCRIPTS, distinct):
        text = planting.script(rng)
        _add(entries, with_sentence(rng, mail, text), Planted("script", {"text": text}))
    for mail in draw(rng, order, PROFANE, distinct):
        text = planting.profanity(rng)
        _add(entries, with_sentence(rng, mail, text), Planted("profanity", {"text": text}))


def _plant_answers(rng: random.Random, entries: list[Entry], distinct: Distinct) -> None:
    """Rows whose answer is useless, or contradicts another row's; and lines that are no rows."""
    for mail in draw(rng, order, JUNK, distinct):
        answer, family = planting.junk(rng, mail.answer)
        _add(entries, replace(mail, answer=answer), Planted("junk", {"family": family, "right": mail.answer}))
    for number in rng.sample(range(ORDERS), CONTRADICTIONS):
        wrong = wrong_answer(rng, entries[number].mail)
        details = {"right": entries[number].mail.answer, "jaccard": _alike(entries[number].mail, wrong)}
        _add(entries, wrong, Planted("contradiction", details, number))
    for mail in draw(rng, order, BROKEN, distinct):
        _add(entries, mail, Planted("broken_line", {}), raw="")


def _plant_copies(rng: random.Random, entries: list[Entry], clean: list[Mail]) -> None:
    """Exact copies, and copies reworded until they are as alike as wanted. No row is copied twice."""
    taken = {e.planted.original for e in entries if e.planted}
    free = [i for i in range(len(clean)) if i not in taken]
    numbers = iter(rng.sample(free, EXACT_COPIES + NEAR_COPIES + FAR_COPIES))
    for _ in range(EXACT_COPIES):
        number = next(numbers)
        _add(entries, clean[number], Planted("exact_copy", {"jaccard": 1.0}, number))
    for band, count in ((NEAR, NEAR_COPIES), (FAR, FAR_COPIES)):
        for _ in range(count):
            number = next(numbers)
            copy = _reworded_to(rng, clean[number], band)
            _add(entries, copy, Planted("near_copy", {"jaccard": _alike(clean[number], copy)}, number))


def _reworded_to(rng: random.Random, mail: Mail, band: tuple[float, float]) -> Mail:
    """A rewording whose similarity to the mail lies within the band."""
    while True:
        copy = mail
        for _ in range(8):
            copy = reworded(rng, copy)
            if band[0] <= _alike(mail, copy) <= band[1]:
                return copy


def _alike(a: Mail, b: Mail) -> float:
    return round(planting.jaccard(planting.shingles(text_of(a)), planting.shingles(text_of(b))), 4)


# --- files ------------------------------------------------------------------------------------------------------------


def as_messages(mail: Mail) -> str:
    """OpenAI chat format, one JSON line."""
    turns = [{"role": "user", "content": mail.prompt}, {"role": "assistant", "content": mail.answer}]
    return _json({"messages": turns})


def as_sharegpt(mail: Mail) -> str:
    """ShareGPT, one JSON line."""
    return _json({"conversations": [{"from": "human", "value": mail.prompt}, {"from": "gpt", "value": mail.answer}]})


def as_alpaca(mail: Mail) -> str:
    """Alpaca, one JSON object."""
    return _json({"instruction": mail.instruction, "input": mail.body, "output": mail.answer})


def write_files(entries: list[Entry]) -> dict[str, str]:
    """Content per file name; sets each entry's place."""
    rng = random.Random(f"{SEED} files")
    shuffled = sorted(entries, key=lambda e: rng.random())
    heap: dict[str, list[Entry]] = {name: [] for name in FILES}
    for entry in shuffled:
        # An empty answer is no row in some formats; a broken line must be a line of its own.
        lines = entry.planted is not None and entry.planted.kind in ("broken_line", "junk")
        choices = [n for n in FILES if n.endswith(".jsonl")] if lines else list(FILES)
        heap[rng.choices(choices, [FILES[n] for n in choices])[0]].append(entry)
    return {
        "messages.jsonl": _jsonl(rng, "messages.jsonl", heap["messages.jsonl"], as_messages),
        "sharegpt.jsonl": _jsonl(rng, "sharegpt.jsonl", heap["sharegpt.jsonl"], as_sharegpt),
        "alpaca.json": _alpaca(heap["alpaca.json"]),
        "pairs.csv": _csv(heap["pairs.csv"]),
    }


def _jsonl(rng: random.Random, name: str, entries: list[Entry], render: Callable[[Mail], str]) -> str:
    lines = []
    for number, entry in enumerate(entries, 1):
        entry.at = (name, f"line:{number}")
        line = render(entry.mail)
        if entry.raw is not None:
            line, problem = planting.broken_jsonl(rng, line)
            entry.planted = Planted("broken_line", {"problem": problem})
        lines.append(line)
    return "\n".join(lines) + "\n"


def _alpaca(entries: list[Entry]) -> str:
    for number, entry in enumerate(entries, 1):
        entry.at = ("alpaca.json", f"row:{number}")
    return "[\n" + ",\n".join(as_alpaca(e.mail) for e in entries) + "\n]\n"


def _csv(entries: list[Entry]) -> str:
    """Prompt and completion; a row's locator is the first of its lines (a prompt holds line breaks)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["prompt", "completion"])
    for entry in entries:
        entry.at = ("pairs.csv", f"line:{out.getvalue().count(chr(10)) + 1}")
        writer.writerow([entry.mail.prompt, entry.mail.answer])
    return out.getvalue()


def planted_lines(entries: list[Entry]) -> str:
    """The truth: one JSON line per planted row."""
    lines = []
    for entry in sorted((e for e in entries if e.planted), key=lambda e: e.at):
        planted = entry.planted
        assert planted is not None
        line: dict[str, Any] = {"file": entry.at[0], "locator": entry.at[1], "kind": planted.kind, **planted.details}
        if planted.original is not None:
            line["original_file"], line["original_locator"] = entries[planted.original].at
        lines.append(_json(line))
    return "\n".join(lines) + "\n"


def general_lines() -> str:
    """Control set for forgetting: grammar sentences that no scratch model trains on, and sentences written by hand."""
    rng = random.Random(f"{SEED} general")
    rows = [{"text": held_out_paragraph(rng, 3), "kind": "grammar"} for _ in range(CONTROL_GRAMMAR)]
    rows += [{"text": text, "kind": "plain"} for text in SENTENCES]
    return "\n".join(map(_json, rows)) + "\n"


def unanswerable_lines(mails: Iterable[Mail]) -> str:
    """Control set of mails that must be declined."""
    rows = [json.loads(as_messages(m)) | {"unanswerable": True} for m in mails]
    return "\n".join(map(_json, rows)) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def contents() -> dict[str, str]:
    """Text per file, by path below examples/."""
    entries, control = build()
    files = {f"quickstart/{name}": text for name, text in write_files(entries).items()}
    files["quickstart/planted.jsonl"] = planted_lines(entries)
    files["controls/general.jsonl"] = general_lines()
    files["controls/unanswerable.jsonl"] = unanswerable_lines(control)
    return files


def main() -> int:
    """Write the files, or compare them. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    check = parser.parse_args().check
    wrong = 0
    for name, text in contents().items():
        path = HERE / name
        if check:
            same = path.is_file() and path.read_bytes() == text.encode()
            wrong += not same
            sys.stdout.write(f"{'same' if same else 'DIFFERS'}  {name}\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            sys.stdout.write(f"{len(text.encode()):>9,} bytes  {name}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
