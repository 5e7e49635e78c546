"""An edit as a preference: the answer that a person wrote, and the one that was there."""

from steps.contracts.records import Row, make_row
from steps.review.decisions import HumanDecision

# What scrub set aside may hold personal data still: the answer that was there goes nowhere.
_UNSEARCHED = "scrub"


def edit_pair(row: Row, new: Row, decision: HumanDecision) -> Row | None:
    """The pair of a conversation of which the last answer alone was edited; None: it is no such."""
    before, after = row["messages"], new["messages"]
    if row["kind"] != "conversation" or decision.choice != "edit" or decision.stage == _UNSEARCHED:
        return None
    if len(before) < 2 or before[:-1] != after[:-1] or row["tools"] != new["tools"]:
        return None
    old, written = before[-1], after[-1]
    if old["role"] != "assistant" or written["role"] != "assistant":
        return None
    if old["content"].split() == written["content"].split() or not old["content"].strip():
        return None
    pair = make_row(
        kind="preference", source=row["source"], locator=f"{row['locator']}:edit", tools=row["tools"],
        raw=f"{row['record_id']}\0{row['content_id']}\0{new['content_id']}".encode(), messages=before[:-1],
        chosen=[written], rejected=[old], parents=[row["record_id"]], meta={"preference": {"how": "human_edit"}},
        batch=row["batch"],
    )  # fmt: skip
    pair["split"] = row["split"]
    return pair
