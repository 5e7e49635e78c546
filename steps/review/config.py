"""Settings of the review stage."""

from pydantic import Field

from steps.contracts.reports import Frozen


class ReviewConfig(Frozen):
    """Which human decisions a run applies."""

    decisions: tuple[str, ...] = Field(
        (),
        description="Files that `assay review` wrote. A later decision about a row wins: later file, then later line."
        " Without any the stage isn't there.",
    )
    edits_as_pairs: bool = Field(
        False,
        description="Whether an edit of an answer also makes a preference row: the edited answer is the better one. Not"
        " of rows that scrub set aside, whose answer may hold personal data.",
    )
