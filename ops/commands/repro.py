"""`assay repro`: a run once more, and what is equal bit by bit."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from ops.console import emit, heading, say, show_table
from ops.repro.compare import Pair
from ops.repro.repro import Repetition, repeat
from steps.contracts.errors import IntegrityError

_SHORT = 16
_WORDS = {
    "bits": "equal, bit by bit",
    "content": "equal",
    "place": "equal but for its place",
    "spare": "spares later runs work",
    "differs": "DIFFERS",
    "gone": "ISN'T THERE ANY MORE",
    "new": "IS NEW",
}
UNEXPLAINED = "nothing explains it: the same code, libraries and machine, and no stage that says it may differ"


def reproduce(root: Path, run: str, keep: Path | None, here: bool, json_output: bool) -> int:
    """Print what came of it. Returns the exit status: 0, or that of an integrity error where something differs."""
    found = repeat(root, run, keep, here=here)
    if json_output:
        emit(_as_json(found))
    else:
        _show(found)
    return 0 if found.same else IntegrityError.exit_code


def _as_json(found: Repetition) -> dict[str, object]:
    around = found.surroundings
    return {
        "run": found.then.name,
        "repetition": found.now.name,
        "commit": found.then.commit,
        "same": found.same,
        "packages": [dict(zip(("name", "then", "now"), p, strict=True)) for p in around.packages],
        "packages_known_by": around.known_by,
        "other": list(around.other),
        "artifacts": [{**asdict(pair), "why": found.why.get((pair.step, pair.name), [])} for pair in found.pairs],
        "state": str(found.state) if found.state else None,
    }


def _show(found: Repetition) -> None:
    heading(f"{found.then.name} once more")
    differing = [pair for pair in found.pairs if not pair.fine]
    counts = Counter(_WORDS[pair.same] for pair in found.pairs)
    say(", ".join(f"{n} {what}" for what, n in counts.most_common()))
    show_table(("stage", "artifact", "", "then", "now"), [_line(pair) for pair in found.pairs])
    for reason in found.surroundings.reasons():
        say(f"not as it was: {reason}")
    for pair in differing:
        why = found.why[pair.step, pair.name] or [UNEXPLAINED]
        say(f"{pair.stage} {pair.name}: {'; '.join(why)}")
    if found.state:
        say(f"kept: {found.state}")


def _line(pair: Pair) -> tuple[str, ...]:
    what = f"{_WORDS[pair.same]}: {pair.note}" if pair.note else _WORDS[pair.same]
    then, now = (digest[:_SHORT] if digest else "" for digest in (pair.then, pair.now))
    return (pair.stage, pair.name, what, then, "" if then == now else now)
