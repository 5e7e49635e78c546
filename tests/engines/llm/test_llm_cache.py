import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from steps.contracts.errors import IntegrityError
from steps.engines.llm.cache import ReplyCache
from steps.engines.llm.client import Reply

REPLY = Reply('{"a": "é\n"}', "stop", False, 10, None, 0.5, "text", 2)


def test_a_reply_comes_back_as_it_was_put(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "sub" / "c.sqlite") as cache:
        cache.put([("k", REPLY)])
        cache.put([("k2", Reply("", "length", True, None, 3, 0.0, "json_schema", 1))])
    with ReplyCache(tmp_path / "sub" / "c.sqlite") as cache:
        assert cache.get_many(["k", "absent", "k2"])["k"] == REPLY
        assert len(cache) == 2


@pytest.mark.parametrize("text", ["a\x01b\x7f", "🦊 é \u2028", ""])
def test_any_text_keeps_its_sum(tmp_path: Path, text: str) -> None:
    reply = replace(REPLY, text=text, seconds=0)
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        cache.put([("k", reply)])
        assert cache.get_many(["k"]) == {"k": reply} and not cache.damaged


def test_a_flipped_byte_is_no_reply(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite"
    with ReplyCache(file) as cache:
        cache.put([("k", replace(REPLY, text='{"score": 3}')), ("k2", REPLY)])
    file.write_bytes(file.read_bytes().replace(b'"score": 3', b'"score": 5'))
    with ReplyCache(file) as cache:
        assert cache.get_many(["k", "k2"]) == {"k2": REPLY}
        assert cache.damaged == {"k"}
        cache.put([("k", REPLY)])
        assert cache.get_many(["k"]) == {"k": REPLY}


def test_a_flipped_byte_of_what_a_killed_process_left_is_no_reply(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite"
    with ReplyCache(file) as cache:
        cache.keep([("k", replace(REPLY, text="score 3"))])
    with ReplyCache(file) as cache:
        assert cache.get_many(["k"])["k"].text == "score 3"
    file.write_bytes(file.read_bytes().replace(b"score 3", b"score 5"))
    with ReplyCache(file) as cache:
        assert not cache.get_many(["k"])


def test_replies_of_files_without_sums_are_replies(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        cache.put([("k", REPLY)])
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as db:
        db.execute("DROP TABLE sums")
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        assert cache.get_many(["k"]) == {"k": REPLY}


def test_more_keys_than_one_query_takes(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        cache.put([("k1499", REPLY)])
        cache.put([("k3", REPLY)])
        assert set(cache.get_many(f"k{i}" for i in range(1500))) == {"k3", "k1499"}


def test_a_damaged_file_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"not a database, but long enough to have a header" * 50)
    with pytest.raises(IntegrityError, match="move it away"):
        ReplyCache(tmp_path / "c.sqlite")


@pytest.mark.slow
def test_every_put_that_returned_survives_kill_9(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from steps.engines.llm.cache import ReplyCache\n"
        "from steps.engines.llm.client import Reply\n"
        "c = ReplyCache(Path(sys.argv[1]))\n"
        "for i in range(10**6):\n"
        "    c.put([(f'k{i}', Reply('x' * 1000, 'stop', False, 1, 1, 0.1, 'text', 1))]); print(i, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "c.sqlite")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 40:
            break
    os.kill(child.pid, signal.SIGKILL)
    done = max([40, *(int(rest) for rest in child.stdout.read().split())])
    child.wait()
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        found = cache.get_many(f"k{i}" for i in range(done + 1))
    assert len(found) == done + 1


def test_nothing_but_the_file_stays_when_it_is_closed(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "c.sqlite") as cache, ReplyCache(tmp_path / "c.sqlite") as other:
        cache.put([("k", REPLY)])
        other.put([("k2", REPLY)])
        assert (tmp_path / "c.sqlite-journal").exists(), "between transactions it stays"
        cache.keep([("k3", REPLY)])
        cache.put([("k3", REPLY)])
        cache.hand_over()
        cache.forget()
    assert [path.name for path in tmp_path.iterdir()] == ["c.sqlite"]
