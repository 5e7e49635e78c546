"""`assay judge label`: rows are drawn, a person labels them."""

import getpass
from collections.abc import Sequence
from pathlib import Path

from ops.console import say
from ops.judging.labelling import Labelling
from ops.judging.sampling import Wanted, sample_of_files, sample_of_run
from steps.contracts.errors import ConfigError


def label_rows(
    root: Path,
    run: str | None,
    files: Sequence[str],
    out: Path,
    wanted: Wanted,
    criteria: Sequence[str],
    by: str | None,
    *,
    again: bool,
) -> None:
    """Draw the rows and walk through them.

    Raises:
        ConfigError: a run and files. InputNotFoundError: there are no such rows. InputError: `out` isn't gold.
    """
    if run is not None and files:
        raise ConfigError("rows of a run or of files", where="--from", hint="name one of them")
    if criteria and wanted.pairs:
        raise ConfigError("of a pair only the better answer is asked", where="--criteria", hint="leave --pairs out")
    if out.suffix.lower() == ".csv":
        raise ConfigError("labels are added as JSON Lines", where=str(out), hint="end its name with .jsonl")
    sample = sample_of_files(files, wanted) if files else sample_of_run(root, run, wanted)
    drawn = ", ".join(f"{taken:,} of {size:,} {outcome}" for outcome, (size, taken) in sample.strata.items())
    say(f"{len(sample.rows):,} rows, seed {wanted.seed}: {drawn}")
    session = Labelling(sample, out, by or getpass.getuser(), wanted.pairs, wanted.seed, criteria, again)
    session.run()
    if session.before:
        say(f"{session.before:,} were labelled before (--again shows them)")
    say(f"{len(session.done):,} labelled now, in {out}")
    say(f"then: assay judge calibrate CONFIG {out}")
