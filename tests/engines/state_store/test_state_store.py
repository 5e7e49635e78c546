"""Durable state: whole files under a URI, here and in S3; lines of many writers; checkpoints and paid replies."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.object_store import forget_file_systems

from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError
from steps.engines.embed.sqlite_cache import SqliteCache
from steps.engines.embed.vectors import Vector
from steps.engines.llm.cache import ReplyCache
from steps.engines.llm.client import Reply
from steps.engines.state_store import store as store_module
from steps.engines.state_store.segments import Segments
from steps.engines.state_store.store import StateStore, store_of
from steps.train.checkpoints import keep_newest, mark_complete, newest_whole


@pytest.fixture(params=["here", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "here":
        return str(tmp_path / "durable")
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}/durable"


@pytest.fixture
def machine(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes this process one of several machines that share a durable state."""

    def be(name: str) -> Path:
        monkeypatch.setenv("ASSAY_STATE", str(tmp_path / name))
        monkeypatch.setenv("ASSAY_STATE_URI", uri)
        return tmp_path / name

    return be


def test_files_are_put_got_and_listed(uri: str, tmp_path: Path) -> None:
    store = StateStore(uri)
    assert store.names() == []
    store.put("a/one", b"1")
    (tmp_path / "big").write_bytes(bytes(range(256)) * 40_000)
    store.put("a/b/big", tmp_path / "big")
    assert store.names() == ["a/b/big", "a/one"]
    assert store.get("a/one") == b"1"
    store.fetch("a/b/big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    store.put("a/one", b"2")
    assert store.get("a/one") == b"2"
    store.remove("a/one")
    store.remove("a/one")
    assert store.names() == ["a/b/big"]
    with pytest.raises(InputNotFoundError):
        store.get("a/one")
    with pytest.raises(InputNotFoundError):
        store.fetch("a/one", tmp_path / "none")
    assert sorted(p.name for p in tmp_path.glob("*") if p.is_file()) == ["back", "big"]


def test_of_many_that_put_a_new_file_one_is_first(uri: str) -> None:
    store, won, together = StateStore(uri), [], threading.Barrier(6)

    def put(i: int) -> None:
        together.wait()
        if store.put_new("marker", bytes([i])):
            won.append(i)

    threads = [threading.Thread(target=put, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("marker") == bytes(won)


def test_path_outside_the_state_folder_has_no_store(machine, tmp_path: Path) -> None:
    machine("a")
    assert store_of(tmp_path / "elsewhere") is None
    found = store_of(tmp_path / "a" / "judge")
    assert found is not None and found.uri.endswith("/durable/judge")


def test_without_a_uri_the_state_folder_is_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path))
    monkeypatch.delenv("ASSAY_STATE_URI", raising=False)
    assert store_of(tmp_path / "judge") is None


# --- lines -------------------------------------------------------------------------------------------------------


def all_lines(store: StateStore) -> list[bytes]:
    reader = Segments(store)
    found = sorted(line for _, lines in reader.read(()) for line in lines)
    reader.close()
    return found


def test_lines_of_two_writers_never_overwrite_each_other(uri: str) -> None:
    store = StateStore(uri)
    one, two = Segments(store), Segments(store)
    for i in range(50):
        one.add(b"one %d" % i)
        two.add(b"two %d" % i)
        if i == 20:
            one.flush()
            assert b"one 20" in all_lines(store)
    one.close()
    two.close()
    assert len(all_lines(store)) == 100
    assert len(store.names()) == 2


def test_line_that_was_flushed_is_there_without_a_close(uri: str) -> None:
    lost = Segments(StateStore(uri))
    lost.add(b"paid")
    lost.flush()
    assert all_lines(StateStore(uri)) == [b"paid"]


def test_damaged_lines_are_refused(uri: str) -> None:
    store = StateStore(uri)
    store.put("0" * 32 + ".lines", b"x\n")
    with pytest.raises(IntegrityError, match="damaged"):
        all_lines(store)


def test_bucket_that_is_not_there_is_told(s3: str) -> None:
    store = StateStore("s3://no-such-bucket/state")
    for put in (store.put, store.put_new):
        with pytest.raises(ServiceError, match="durable state"):
            put("x", b"x")


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        lambda store, here: store.names(),
        lambda store, here: store.get("x"),
        lambda store, here: store.fetch("x", here),
        lambda store, here: store.put("x", b"x"),
        lambda store, here: store.put("x", Path(__file__)),
        lambda store, here: store.put_new("x", b"x"),
        lambda store, here: store.remove("x"),
    ],
    ids=["names", "get", "fetch", "put", "put a file", "put_new", "remove"],
)
def test_store_that_never_answers_is_given_up(
    use: Callable[[StateStore, Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_SILENT_SECONDS", 0.2)
    forget_file_systems()
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        started = time.monotonic()
        with pytest.raises(ServiceError, match="durable state"):
            use(StateStore("s3://silent/state"), tmp_path / "x")
    assert time.monotonic() - started < 10


def test_store_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_file_systems()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    lines = Segments(StateStore("s3://gone/state"))
    lines.add(b"x")
    with pytest.raises(ServiceError, match="durable state"):
        lines.flush()
    with pytest.raises(ServiceError):
        lines.add(b"y")
    with pytest.raises(ServiceError):
        lines.close()


# --- what lies there ---------------------------------------------------------------------------------------------

REPLY = Reply("yes", "stop", False, 10, 1, 0.5, "text", 1)


def test_reply_that_one_machine_paid_for_is_known_to_another(machine) -> None:
    lost = ReplyCache(machine("a") / "judge" / "replies.sqlite")
    lost.put([("k", REPLY)])  # never closed: the machine dies
    with ReplyCache(machine("b") / "judge" / "replies.sqlite") as cache:
        assert cache.get_many(["k", "l"]) == {"k": REPLY}
        cache.put([("l", REPLY)])
    with ReplyCache(machine("a") / "judge" / "replies.sqlite") as cache:
        assert len(cache) == 2
    with ReplyCache(machine("b") / "judge" / "replies.sqlite") as cache:
        assert len(cache) == 2


def test_vectors_of_one_machine_are_known_to_another(machine) -> None:
    values = np.array([0.25, -0.5], np.float32)
    cache = SqliteCache(machine("a") / "embeddings" / "vectors.sqlite")
    cache.put_many({"k": Vector(values, True)})
    cache.close()
    cache = SqliteCache(machine("b") / "embeddings" / "vectors.sqlite")
    found = cache.get_many(["k"])["k"]
    cache.close()
    assert found.cut and found.values.tobytes() == values.tobytes()


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    (made / "optimizer").mkdir(parents=True)
    (made / "weights").write_text(f"weights of {step}")
    (made / "optimizer" / "state").write_text("same in all")
    return made


def test_checkpoint_of_one_machine_is_whole_on_another(machine) -> None:
    there = machine("a") / "checkpoints" / "run"
    for step in (2, 4):
        mark_complete(checkpoint(there, step))
    checkpoint(there, 6)  # interrupted: no marker
    home = machine("b") / "checkpoints" / "run"
    assert newest_whole(home) == home / "checkpoint-4"
    assert (home / "checkpoint-4" / "weights").read_text() == "weights of 4"
    assert (home / "checkpoint-4" / "optimizer" / "state").read_text() == "same in all"


def test_checkpoint_here_that_is_further_on_wins(machine) -> None:
    mark_complete(checkpoint(machine("a") / "checkpoints" / "run", 2))
    home = machine("b") / "checkpoints" / "run"
    mark_complete(checkpoint(home, 4))
    assert newest_whole(home) == home / "checkpoint-4"
    assert not (home / "checkpoint-2").exists()


def test_older_checkpoints_leave_the_durable_state_too(machine, uri: str) -> None:
    home = machine("a") / "checkpoints" / "run"
    for step in (2, 10, 4):
        mark_complete(checkpoint(home, step))
    keep_newest(home, 1)
    names = StateStore(f"{uri}/checkpoints/run").names()
    assert {n.split("/")[0] for n in names} == {"checkpoint-10"} and len(names) == 3


def test_checkpoint_that_lost_a_file_is_passed_over(machine, uri: str) -> None:
    home = machine("a") / "checkpoints" / "run"
    for step in (2, 4):
        mark_complete(checkpoint(home, step))
    store = StateStore(f"{uri}/checkpoints/run/checkpoint-4")
    store.remove(next(n for n in store.names() if n != "complete.json"))
    other = machine("b") / "checkpoints" / "run"
    assert newest_whole(other) == other / "checkpoint-2"
