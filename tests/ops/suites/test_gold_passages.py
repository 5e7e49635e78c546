"""The passages that an answer rests on, of what synthesize keeps of its checker's quotes."""

from ops.suites.synthesized import _passages

TEXT = "# Use\n\nOpen the lid.\nPour water.\n \nClose it again.\n\n## Care\n\nWash it."
WHOLE = {"start": 0, "end": len(TEXT)}


def at(*quotes: str) -> dict[str, object]:
    places = [(TEXT.index(q), TEXT.index(q) + len(q)) for q in quotes]
    return {**WHOLE, "evidence": places}


def test_the_paragraphs_that_hold_the_evidence_are_gold() -> None:
    assert list(_passages(TEXT, at("Pour"))) == ["Open the lid.\nPour water."]
    assert list(_passages(TEXT, at("Close it", "Wash"))) == ["Close it again.", "Wash it."]
    # Evidence over the end of a paragraph is of both; the chunk's own ends are kept.
    assert list(_passages(TEXT, at("water.\n \nClose"))) == ["Open the lid.\nPour water.\n \nClose it again."]
    cut = {"start": TEXT.index("Pour"), "end": TEXT.index("again"), "evidence": [(TEXT.index("Close"),) * 2]}
    assert list(_passages(TEXT, cut)) == ["Close it"]


def test_without_evidence_the_chunk_is_gold() -> None:
    assert list(_passages(TEXT, WHOLE)) == [TEXT] and list(_passages("", WHOLE)) == []
