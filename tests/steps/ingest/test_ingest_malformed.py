"""Whatever a file holds: the command ends, says whose fault it is, and takes neither all time nor all memory."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from steps.contracts.errors import ConfigError, InputError
from tests.support.bounded import MOST_BYTES, MOST_SECONDS, Ended, bounded
from tests.support.malformed import Malformed, broken, hostile

# Of every hundred rows any number may be lost: that they are named is what counts.
ARGUMENTS = ("--ingest", "max_reject_share=1")
FINE = (0, InputError.exit_code, ConfigError.exit_code)


def tried(file: Malformed, folder: Path) -> Ended:
    """`assay stage ingest FILE`, or `assay validate FILE`, as it ended."""
    path = folder / file.name
    path.write_bytes(file.data)
    shutil.rmtree(folder / "out", ignore_errors=True)
    arguments = ["stage", "ingest", str(path), "--out", str(folder / "out")]
    if path.suffix == ".yaml":
        arguments = ["validate", str(path)]

    return bounded(arguments, folder)


def faults(files: list[Malformed], folder: Path) -> tuple[list[str], Counter[int]]:
    found: list[str] = []
    statuses: Counter[int] = Counter()
    for number, file in enumerate(files):
        ended = tried(file, folder)
        statuses[ended.status] += 1
        if ended.status not in FINE or ended.seconds > MOST_SECONDS or ended.peak > MOST_BYTES:
            found.append(f"{number} {file.name} ({file.what}): {ended}")
        (folder / file.name).unlink()
    return found, statuses


@pytest.mark.slow
def test_some_broken_files_of_every_container(tmp_path):
    found, statuses = faults(list(broken(1, 28)), tmp_path)
    assert not found and sum(statuses.values()) == 28


@pytest.mark.slow
def test_a_thousand_broken_files(tmp_path):
    found, statuses = faults(list(broken(2, 1_120)), tmp_path)
    assert not found, "\n".join(found)
    assert statuses[0] > 100 and statuses[InputError.exit_code] > 100


@pytest.mark.slow
def test_files_made_to_hurt(tmp_path):
    found, statuses = faults(list(hostile()), tmp_path)
    assert not found, "\n".join(found)
    assert statuses[InputError.exit_code] > 20 and statuses[ConfigError.exit_code] > 5
