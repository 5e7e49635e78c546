"""Scrub against plain presidio: CPU time and findings, row by row; then how well it finds (pii_quality.py).

    ASSAY_BENCH_DATA=folder python benchmarks/bench_pii.py [--rows 10000] [--speed-only]

Two kinds of rows: those of t0.jsonl.gz as they are, and five times as many pieces of its texts, cut at paragraph and
sentence ends to the length of instructions (500 characters at most), so that start-up doesn't hide the rest.
Two sets of entities: what scrub replaces by default under its policy, and every entity that presidio finds by patterns,
whatever the score. Both sides have the same recognizers, tokenizer and context matching, and start without torch. Each
run is a process of its own; a pair of runs takes turns, and figures are medians of three pairs: CPU seconds (user and
system) of the analysis alone, and of the whole process, of which starting up and reading (mostly the import of
presidio and spaCy) is the same on both sides.
"""

import argparse
import gzip
import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measure import data_folder, finish, measured, own_cpu

from steps.contracts.context import StageContext
from steps.engines.fast_presidio.imports import patterns_only
from steps.scrub.config import ScrubConfig

if TYPE_CHECKING:
    from steps.contracts.dataset import Dataset

ROWS = "t0.jsonl.gz"
SETS = ("default", "all")
SIDES = ("fast", "plain")
_PAIRS = 3
_CUT = 500
# Rows of instruction length for one of t0; chosen.
_PIECES = 5
# Plain presidio over ours, whole processes, by kind of rows; chosen.
LEAST_RATIO = {"instructions": 10, "t0": 7}
_ALL = ("DATE_TIME", "URL", "US_DRIVER_LICENSE", "UUID")
Found = list[list[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="rows of t0; five times as many pieces")
    parser.add_argument("--speed-only", action="store_true", help="without pii_quality.py")
    parser.add_argument("--run", nargs=3, metavar=("SIDE", "SET", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--stage", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        side, chosen, folder = options.run
        one_run(side, chosen, Path(folder))
        return
    path = data_folder("pii", ROWS) / ROWS
    if options.stage:
        whole_stage(path, options.stage)
        return
    with tempfile.TemporaryDirectory() as scratch:
        figures, wanted = compared(path, options.rows, Path(scratch))
        figures |= json.loads(_own("--stage", scratch).splitlines()[-1])
    print(f"the stage on all of t0: {figures['stage']}")
    if not options.speed_only:
        import pii_quality

        wanted |= pii_quality.main()
    finish("pii", figures, wanted)


def compared(path: Path, rows: int, scratch: Path) -> tuple[dict[str, Any], dict[str, bool]]:
    """Figures of each kind of rows and set of entities, and what is wanted of them."""
    figures: dict[str, Any] = {}
    wanted: dict[str, bool] = {}
    whole = list(islice(t0_texts(path), rows))
    pieces = list(cut_texts(t0_texts(path)))
    # Evenly from all rows: the pieces of one passage stand together.
    kinds = {"instructions": pieces[:: max(1, len(pieces) // (_PIECES * rows))][: _PIECES * rows], "t0": whole}
    print("| rows | entities | findings | presidio, rows/CPU-s | assay | times | whole process | mismatches |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, texts in kinds.items():
        (scratch / "texts.json").write_text(json.dumps(texts))
        for chosen in SETS:
            done = [pair(chosen, scratch) for _ in range(_PAIRS)]
            line = {name: statistics.median(p[name] for p in done) for name in done[0]}
            figures[f"{kind}, {chosen}"] = {name: round(value, 2) for name, value in line.items()} | {"n": len(texts)}
            least = LEAST_RATIO[kind]
            wanted[f"{kind}, {chosen}: whole process, times >= {least}"] = line["times_whole"] >= least
            wanted[f"{kind}, {chosen}: no mismatch"] = not any(p["mismatches"] for p in done)
            print(
                f"| {len(texts):,} of {kind} | {chosen} | {line['findings']:,.0f} | {len(texts) / line['plain']:,.0f} "
                f"| {len(texts) / line['fast']:,.0f} | {line['times']:.1f} | {line['times_whole']:.1f} "
                f"| {max(p['mismatches'] for p in done):.0f} |",
                flush=True,
            )
    return figures, wanted


def pair(chosen: str, scratch: Path) -> dict[str, float]:
    """CPU seconds of one run of each side, and the rows on which they differ."""
    cost: dict[str, float] = {}
    found: dict[str, list[Found]] = {}
    for side in SIDES:
        told = json.loads(_own("--run", side, chosen, str(scratch)).splitlines()[-1])
        cost[side], cost[f"{side}_whole"] = told["cpu_seconds"], told["process_cpu_seconds"]
        found[side] = json.loads((scratch / f"{side}.json").read_text())
    return cost | {
        "times": cost["plain"] / cost["fast"],
        "times_whole": cost["plain_whole"] / cost["fast_whole"],
        "findings": sum(map(len, found["plain"])),
        "mismatches": sum(a != b for a, b in zip(found["fast"], found["plain"], strict=True)),
    }


def _own(*arguments: str) -> str:
    return measured([sys.executable, __file__, *arguments]).stdout


def one_run(side: str, chosen: str, folder: Path) -> None:
    """Analyse all texts once; print CPU seconds as JSON."""
    texts: list[str] = json.loads((folder / "texts.json").read_text())
    find = finder(side, chosen)
    find("Warm: call 212-555-0142 or a@example.org, 2024-05-17")
    before = own_cpu()
    found = [find(text) for text in texts]
    spent = own_cpu() - before
    (folder / f"{side}.json").write_text(json.dumps(found))
    print(json.dumps({"cpu_seconds": spent, "process_cpu_seconds": own_cpu()}))


def finder(side: str, chosen: str) -> Callable[[str], Found]:
    """text -> its findings, sorted."""
    with patterns_only():
        from steps.scrub.recognizers.presidio import PresidioDetector
    if chosen == "default":
        find = PresidioDetector(ScrubConfig(accelerate=side == "fast")).find
        return lambda text: sorted(map(list, find(text)))
    from steps.engines.fast_presidio.analyzer import FastAnalyzer
    from steps.scrub.recognizers.predefined import recognizers

    analyzer = FastAnalyzer(recognizers((*ScrubConfig().wanted_of("presidio"), *_ALL), ("en_US",)))
    analyze = analyzer.analyze if side == "fast" else analyzer.plainly
    return lambda text: sorted(
        [r.start, r.end, r.entity_type, r.score, r.recognition_metadata["recognizer_name"]] for r in analyze(text)
    )


def whole_stage(path: Path, folder: Path) -> None:
    """The scrub stage on every row, one process; prints CPU seconds as JSON, start-up of presidio included."""
    from steps.scrub.scrub import scrub

    dataset = written(path, folder / "in")
    before = own_cpu()
    outcome = scrub(dataset, ScrubConfig(demo_key=True), StageContext(folder / "out"))
    spent = own_cpu() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    stage = {"rows": dataset.rows, "changed": outcome.report.changed, "cpu_seconds": round(spent, 1)}
    print(json.dumps({"stage": stage | {"rows_per_cpu_second": round(dataset.rows / spent), "peak_mb": round(peak)}}))


def written(path: Path, folder: Path) -> "Dataset":
    from steps.contracts.dataset import DatasetWriter
    from steps.contracts.records import make_row, message

    writer = DatasetWriter(folder, "ingest")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = (
            make_row(
                kind="conversation",
                source="t0",
                locator=f"line:{number}",
                raw=line.encode(),
                messages=[message("user", row["prompt"]), message("assistant", row["completion"])],
                meta={"template": row["template"]},
            )
            for number, line in enumerate(lines)
            for row in [json.loads(line)]
        )
        while batch := list(islice(rows, 5_000)):
            writer.write_rows(batch)
    return writer.close()


def t0_texts(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield f"{row['prompt']}\n\n{row['completion']}"


def cut_texts(texts: Iterable[str]) -> Iterator[str]:
    """Pieces of at most 500 characters that end with a paragraph, else a sentence, else anywhere."""
    for text in texts:
        rest = text.strip()
        while rest:
            end = len(rest)
            if end > _CUT:
                paragraph, sentence = rest.rfind("\n\n", _CUT // 4, _CUT), rest.rfind(". ", _CUT // 4, _CUT)
                end = paragraph if paragraph > 0 else sentence + 1 if sentence > 0 else _CUT
            yield rest[:end]
            rest = rest[end:].lstrip()


if __name__ == "__main__":
    main()
