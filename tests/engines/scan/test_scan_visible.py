from hypothesis import given
from hypothesis import strategies as st

from steps.engines.scan.visible import VisibleText


@given(st.text("aé\u200b\u00ad\ufeff1", max_size=20), st.data())
def test_places_hold_the_same_visible_characters(original: str, data: st.DataObject) -> None:
    seen = VisibleText(original)
    assert seen.text == "".join(c for c in original if c in "aé1")
    if seen.text:
        start = data.draw(st.integers(0, len(seen.text) - 1))
        end = data.draw(st.integers(start + 1, len(seen.text)))
        low, high = seen.place(start, end)
        assert VisibleText(original[low:high]).text == seen.text[start:end]
        assert original[low] == seen.text[start] and original[high - 1] == seen.text[end - 1]
