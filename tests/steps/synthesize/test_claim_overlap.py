"""Quotes that speak of something else and names that nobody has said, on a worked set of claims in seven languages:
what is found, and what is dropped wrongly.

claims.jsonl was written by hand for this: of each passage four true claims in other words with the quote that a careful
checker would give, and false ones with the most convincing quote of the passage: about something that it doesn't say
(novel), with a name from elsewhere (name), put together of its own words (swap), and negated.
"""

import json
from collections import Counter
from pathlib import Path

from steps.engines.scoring.wilson import wilson
from steps.engines.text.normalise import squeezed
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.overlap import overlap, strange_names

LINES = [json.loads(line) for line in (Path(__file__).parent / "claims.jsonl").read_text().splitlines()]
LEAST = SynthesizeConfig.model_fields["min_evidence_overlap"].default


def judged() -> tuple[Counter[str], ...]:
    """Of each kind the claims, those with too little in common with their quote, with a strange name, with either."""
    of, weak, strange, either = (Counter[str]() for _ in range(4))
    for line in LINES:
        passage, question = line["passage"], line["question"]
        for claim, quote, kind in [*((*pair, "true") for pair in line["true"]), *line["false"]]:
            assert squeezed(quote) in squeezed(passage)
            of[kind] += 1
            found = overlap(claim, quote, passage, question) < LEAST, bool(strange_names(claim, passage, question))
            weak[kind] += found[0]
            strange[kind] += found[1]
            either[kind] += any(found)
    return of, weak, strange, either


def test_what_is_found_and_what_is_dropped_wrongly() -> None:
    of, weak, strange, either = judged()
    assert len({line["language"] for line in LINES}) == 7
    assert of == {"true": 48, "novel": 24, "name": 12, "swap": 12, "negation": 12}
    assert weak == {"true": 1, "novel": 16, "name": 4, "swap": 0, "negation": 0}
    assert strange == {"true": 0, "novel": 0, "name": 8, "swap": 0, "negation": 0}
    # As the docs have it: 26 of 36, and 1 of 48.
    assert either == {"true": 1, "novel": 16, "name": 10, "swap": 0, "negation": 0}
    share = wilson(1, 48)
    assert share is not None and (round(share.low, 3), round(share.high, 3)) == (0.004, 0.109)


def test_forms_of_words_count_and_common_words_hardly_do() -> None:
    passage = "The pump is cleaned on the first day of the month. The hose of the pump is of the red kind."
    # Weights by hand: pump 1/3, cleaned 1/2 (cleans is a form of it), the 1/6 and so on.
    assert overlap("cleans pump", "The pump is cleaned", passage, "") == 1.0
    assert overlap("pump leaks", "The pump is cleaned", passage, "") == (1 / 3) / (1 / 3 + 1)
    # What the question says already needn't be quoted; a claim of nothing else is held to it.
    assert overlap("pump leaks", "The pump is cleaned", passage, "What leaks?") == 1.0
    assert overlap("leaks", "The pump is cleaned", passage, "What leaks?") == 0.0
    assert overlap("", "The pump", passage, "") == 0.0


def test_names_are_words_with_a_capital_inside_a_sentence() -> None:
    passage = "The ferry to Darby Island runs only in summer, and people from Norway cross the ice on foot in winter."
    assert strange_names("Norwegian guides lead people to Darby Island. Some take the ferry.", passage, "") == []
    assert strange_names("It is run by Jon Perrin, says Jon.", passage, "Who is Jon?") == ["Perrin"]
    german = "Der Akku wird vor dem ersten Gebrauch geladen. Der Filter wird unter lauwarmem Wasser ausgewaschen."
    assert strange_names("Man lädt den Akku vor der Benutzung.", german, "") == []
