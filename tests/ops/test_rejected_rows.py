"""What the terminal says of rejected rows."""

import pytest

from ops.rejected_rows import say_rejected
from steps.contracts.reports import Example, StageReport


def report(**fields: object) -> StageReport:
    return StageReport.model_validate(
        {"stage": "ingest", "rows_in": 9, "kept": 9, "config_digest": "", "seconds": 0, "cpu_seconds": 0, **fields}
    )


def test_each_reason_with_its_first_rows_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    examples = [Example(record_id="r0", reason="openai", text="conversation: ...")]
    examples += [
        Example(record_id=f"r{n}", reason="rejected: no_content", text=f"s/a, line:{n}: why") for n in (1, 2, 3)
    ]
    examples.append(Example(record_id="r4", reason="rejected: cut_off", text="s/b, row:4: \x1b[31mred"))
    counts = {"rows rejected per reason": {"no_content": 1_204, "cut_off": 1}}
    say_rejected(report(examples=examples, counts=counts))
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == ["rejected: no_content, 1,204 rows, such as", *(f"  s/a, line:{n}: why" for n in (1, 2, 3))]
    assert said[4] == "rejected: cut_off, 1 row" and "\x1b" not in said[5] and len(said) == 6
    say_rejected(report())
    assert not capsys.readouterr().out
