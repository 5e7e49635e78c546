"""Page starts of a scrubbed document point to the same places as before."""

import json

from steps.scrub.findings import Replacement
from steps.scrub.page_starts import moved


def test_pages_start_where_their_text_does() -> None:
    old = "Ada wrote.\n\nTo ada@example.org now.\n\nEnd of Ada."
    starts = [0, old.index("To"), old.index("End")]
    found = [Replacement(0, 3, "<P>"), Replacement(15, 30, "<EMAIL_LONG_NAME_X>"), Replacement(44, 47, "<PERSON>")]
    assert [old[r.start : r.end] for r in found] == ["Ada", "ada@example.org", "Ada"]
    new = old
    for r in reversed(found):
        new = new[: r.start] + r.new + new[r.end :]
    after = json.loads(moved(json.dumps({"page_starts": starts, "pages": 3}), found))
    assert [new[s : s + 3] for s in after["page_starts"]] == ["<P>", "To ", "End"] and after["pages"] == 3
    # A page that starts within a value starts with it; what has no pages stays as it is, letter by letter.
    assert json.loads(moved('{"page_starts": [20]}', found))["page_starts"] == [15]
    assert moved('{"b": 1, "a": 2}', found) == '{"b": 1, "a": 2}'
