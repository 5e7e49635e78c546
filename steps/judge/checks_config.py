"""Settings of what is asked of a judge beside the rows, to see how steady it is."""

from pydantic import Field

from steps.contracts.reports import Frozen

# As many as there are probe rows.
MOST_PROBES = 20
# As many as there are ways to say nothing.
MOST_EMPTY = 8


class ChecksConfig(Frozen):
    """Questions beside the rows: each costs what a row does, counts for `max_cost`, and never decides about a row."""

    repeats: int = Field(
        default=0, ge=0, le=1000,
        description="so many rows of the data are asked about once more, without the replies that are kept: how far"
        " the judge agrees with itself; llm",
    )  # fmt: skip
    probes: int | None = Field(
        default=None, ge=0, le=MOST_PROBES,
        description="so many fixed rows are judged in each run, of an endpoint anew, and compared with the last run;"
        " None: 20 by a local model (free), none by an endpoint",
    )  # fmt: skip
    empty_rows: int = Field(
        default=0, ge=0, le=MOST_EMPTY,
        description="so many rows that say nothing are judged, of each kind that there is, by judges that answer in"
        " words (asked once, then kept); those that give probabilities are asked about one anyway; llm",
    )  # fmt: skip
    # Chosen: a twentieth of the scale is what one criterion of four moves a share by when it changes by one point.
    max_drift: float = Field(
        default=0.05, gt=0, le=1, description="probes whose mean share moves by more than this are warned of"
    )

    def probes_of(self, *, paid: bool) -> int:
        """Probe rows of a judge; paid: it is behind an endpoint."""
        if self.probes is not None:
            return self.probes
        return 0 if paid else MOST_PROBES
