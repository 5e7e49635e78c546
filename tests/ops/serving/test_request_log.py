"""The log of requests: whole lines, on disk before the answer, whatever becomes of the file."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ops.serving.request_log import RequestLog
from steps.contracts.errors import ConfigError, StorageError


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_of_many_threads_and_of_two_logs_are_whole(tmp_path):
    path = tmp_path / "deep" / "serve.jsonl"
    long = "ä" * 300_000
    with RequestLog(path) as one, RequestLog(path) as other, ThreadPoolExecutor(8) as threads:
        kept = list(threads.map(lambda n: (one, other)[n % 2].add({"n": n, "text": long}).result(), range(40)))
    assert kept == [True] * 40
    assert sorted(line["n"] for line in lines(path)) == list(range(40))
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_waits_at_the_end_is_written(tmp_path):
    path = tmp_path / "serve.jsonl"
    with RequestLog(path) as log:
        done = [log.add({"n": n}) for n in range(50)]
    assert all(d.result() for d in done) and [line["n"] for line in lines(path)] == list(range(50))


def test_a_torn_line_is_ended_and_a_moved_file_left_behind(tmp_path):
    path = tmp_path / "serve.jsonl"
    path.write_text('{"n": 0}\n{"n": 1, "te')
    with RequestLog(path) as log:
        log.add({"n": 2}).result()
        path.rename(tmp_path / "serve.jsonl.1")
        log.add({"n": 3}).result()
        path.unlink()
        log.add({"n": 4}).result()
    assert (tmp_path / "serve.jsonl.1").read_text() == '{"n": 0}\n{"n": 1, "te\n{"n": 2}\n'
    assert lines(path) == [{"n": 4}]


def test_a_disk_that_takes_nothing_is_told_once_and_stops_nothing(tmp_path, capsys):
    path = tmp_path / "logs" / "serve.jsonl"
    with RequestLog(path) as log:
        path.unlink()
        path.parent.rmdir()
        assert [log.add({"n": n}).result() for n in range(3)] == [False] * 3
        assert log.lost == 3
        path.parent.mkdir()
        assert log.add({"n": 9}).result()
    assert capsys.readouterr().err.count("can't be logged") == 1
    assert lines(path) == [{"n": 9}]
    assert threading.active_count() == 1 or not any(t.name == "request log" for t in threading.enumerate())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="not allowed"), RequestLog(tmp_path / "serve.jsonl"):
        pass


def test_a_path_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a folder is no log"), RequestLog(tmp_path):
        pass
