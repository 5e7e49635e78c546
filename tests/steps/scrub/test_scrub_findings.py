import string

from hypothesis import given
from hypothesis import strategies as st

from steps.scrub.findings import Finding, Replacement, mapped_back, outside, pseudonym_pattern, replaced, resolve

TEXT = "".join(string.ascii_letters[i % 52] for i in range(60))
SPANS = st.tuples(st.integers(0, 55), st.integers(1, 12)).map(lambda p: (p[0], min(60, p[0] + p[1])))
FINDINGS = st.lists(
    st.builds(
        lambda span, entity, score: Finding(*span, entity, score, "r"),
        SPANS,
        st.sampled_from(["A", "B", "C"]),
        st.sampled_from([0.4, 0.5, 1.0]),
    ),
    max_size=8,
)


def covered(findings: list[Finding]) -> set[int]:
    return {i for f in findings for i in range(f.start, f.end)}


@given(FINDINGS)
def test_resolved_findings_cover_all_and_never_overlap(findings: list[Finding]) -> None:
    done = resolve(findings)
    assert covered(done) == covered(findings)
    assert sum(f.end - f.start for f in done) == len(covered(done))
    assert done == resolve(list(reversed(findings)))


def test_longest_wins_then_score_and_a_tail_never_stays_behind() -> None:
    mail = Finding(0, 20, "EMAIL_ADDRESS", 0.5, "e")
    url = Finding(8, 20, "URL", 0.9, "u")
    assert resolve([url, mail]) == [mail]
    assert resolve([Finding(0, 9, "A", 0.5, "x"), Finding(0, 9, "B", 0.9, "y")])[0].entity == "B"
    assert resolve([Finding(0, 9, "A", 0.5, "x"), Finding(5, 12, "B", 0.9, "y")]) == [Finding(0, 12, "A", 0.5, "x")]
    assert len(resolve([Finding(0, 5, "A", 0.5, "x"), Finding(5, 9, "B", 0.9, "y")])) == 2


@given(FINDINGS, st.lists(SPANS, max_size=3))
def test_outside_never_touches_what_is_protected(findings: list[Finding], protected: list[tuple[int, int]]) -> None:
    parts = outside(findings, protected, TEXT)
    guarded = {i for a, b in protected for i in range(a, b)}
    assert covered(parts) == covered(findings) - guarded


@given(FINDINGS, st.text("xyz", min_size=1, max_size=9))
def test_places_in_the_new_text_map_back(findings: list[Finding], new: str) -> None:
    replacements = [Replacement(f.start, f.end, new) for f in resolve(findings)]
    text, places = replaced(TEXT, replacements)
    assert [text[a:b] for a, b in places] == [new] * len(places)
    free = outside([Finding(0, len(text), "A", 1.0, "r")], places, text)
    for before, after in zip(mapped_back(free, replacements), free, strict=True):
        assert TEXT[before.start : before.end] == text[after.start : after.end]


def test_own_pseudonyms_are_recognized_and_others_are_not() -> None:
    own = pseudonym_pattern({"PERSON", "US_SSN"})
    assert own.fullmatch("<PERSON_K7Q2M4XA7DTR>") and own.fullmatch("<US_SSN>")
    assert not own.search("<JOHN_K7Q2M4XA7DTR> <PERSON_K7Q2M4XA7DT1> <PERSON_SHORT>")
