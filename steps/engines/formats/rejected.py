"""A row that can't be read or written."""

from steps.contracts.errors import InputError


class RowRejected(InputError):
    """One row can't be read or written; caught for each row, so it never ends a run. `reason` is the reason code."""

    def __init__(self, reason: str, hint: str) -> None:
        self.reason = reason
        super().__init__(reason, hint=hint)
