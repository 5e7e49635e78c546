"""What a killed process leaves beside its file, and who takes it over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steps.contracts.errors import StorageError
from steps.engines.llm.cache import ReplyCache
from steps.engines.llm.client import Reply
from steps.engines.state_store.journal import Journal, take_over

REPLY = Reply("said", "stop", False, 10, 2, 0.5, "text", 1)


def left(file: Path) -> list[bytes]:
    lines: list[bytes] = []
    take_over(file, lines.extend)
    return lines


def journals(file: Path) -> list[Path]:
    return sorted(file.parent.glob("*.journal"))


def test_lines_of_a_living_process_are_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "c")
    journal.add(b"one")
    assert left(tmp_path / "c") == [] and len(journals(tmp_path / "c")) == 2
    journal.close()
    assert left(tmp_path / "c") == [b"one"] and journals(tmp_path / "c") == []


def test_what_was_written_is_forgotten_and_what_came_meanwhile_is_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "c")
    journal.add(b"one")
    journal.turn()
    journal.add(b"two")
    journal.forget()
    journal.close()
    assert left(tmp_path / "c") == [b"two"]


def test_a_line_that_was_cut_is_none_and_the_others_stay(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "c")
    journal.add(b"one")
    journal.add(b"two")
    journal.close()
    path = next(p for p in journals(tmp_path / "c") if p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-2])
    assert left(tmp_path / "c") == [b"one"]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "c")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._files[0]._handle)
    with pytest.raises(StorageError):
        journal.add(b"one")


def test_every_reply_that_was_kept_survives_kill_9_before_it_was_put(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from steps.engines.llm.cache import ReplyCache\n"
        "from steps.engines.llm.client import Reply\n"
        "c = ReplyCache(Path(sys.argv[1]))\n"
        "for i in range(10**6):\n"
        "    c.keep([(f'k{i}', Reply('said', 'stop', False, 10, 2, 0.5, 'text', 1))]); print(i, flush=True)\n"
    )
    file = tmp_path / "c.sqlite"
    child = subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 500:
            break
    os.kill(child.pid, signal.SIGKILL)
    done = max([500, *(int(rest) for rest in child.stdout.read().split("\n")[:-1])])
    child.wait()
    with ReplyCache(file) as cache:
        assert cache.get_many(f"k{i}" for i in range(done + 1)) == {f"k{i}": REPLY for i in range(done + 1)}
    assert journals(file) == []
