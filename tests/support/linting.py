"""The mask lint one row at a time."""

from steps.engines.template.lint import Judge, LintTotals


class Lint:
    """Checks rows one by one and keeps the totals.

    Args:
        check_control_tokens: whether special tokens in message text make a row unusable.
    """

    def __init__(self, tokenizer, template, *, check_control_tokens=True):
        self.tokenizer = tokenizer
        self.totals = LintTotals()
        self._judge = Judge(tokenizer, template, check_control_tokens=check_control_tokens)

    def check(self, row):
        """Encode one row, judge it and count it."""
        (linted,) = self._judge([row])
        self.totals.count(linted, row["record_id"])
        return linted

    def require(self, *, max_unusable_share):
        """Raise TrainingDataError when too many rows are unusable or none is usable."""
        self.totals.require(max_unusable_share=max_unusable_share)
