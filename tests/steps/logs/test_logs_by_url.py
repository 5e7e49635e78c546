"""Logs that are read by URL: the same rows as from this machine, whatever happens to them in between."""

import gzip
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support import logged
from support.object_store import s3, s3_server  # noqa: F401

from steps.contracts.context import StageContext
from steps.contracts.errors import InputError, InputNotFoundError, MissingDependencyError, ServiceError
from steps.contracts.outcome import Outcome
from steps.logs.config import LogsConfig
from steps.logs.logs import input_digests, logs

NOW = logged.BEGAN + 1e6


def run(root: Path, *paths: str, name: str = "out", inputs: dict[str, str] | None = None) -> Outcome:
    config = LogsConfig(paths=paths, window_requests=None)
    return logs(config, StageContext(root / name, root=root, inputs=inputs), now=NOW)


def as_bytes(lines: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def test_a_file_a_folder_and_a_glob_by_url_give_the_rows_of_files_here(tmp_path: Path, bucket) -> None:
    lines = logged.orders(12)
    bucket.pipe("/b/logs/serve.jsonl", as_bytes(lines[6:]))
    bucket.pipe("/b/logs/serve.jsonl.1.gz", gzip.compress(as_bytes(lines[:7])))
    bucket.pipe("/b/logs/deeper/serve.jsonl", as_bytes(logged.orders(3, seed=1)))
    bucket.pipe("/b/logs/notes.txt", b"no log")
    logged.write(tmp_path / "here" / "serve.jsonl", lines)
    here = run(tmp_path, "here")
    for n, path in enumerate(("memory://b/logs", "memory://b/logs/", "memory://b/logs/serve.jsonl*")):
        done = run(tmp_path, path, name=f"far{n}")
        assert done.rows.digest == here.rows.digest and done.report.dropped_by == {"duplicate_line": 1}
    files = pq.read_table(done.artifacts["log_facts"].path)["file"].to_pylist()
    assert sorted(set(files)) == ["memory:///b/logs/serve.jsonl", "memory:///b/logs/serve.jsonl.1.gz"]
    one = run(tmp_path, "memory://b/logs/serve.jsonl", "memory://b/logs/serve.jsonl", "here", name="both")
    assert one.rows.digest == here.rows.digest and one.report.dropped_by == {"duplicate_line": 6}


def test_a_log_that_grows_shrinks_or_becomes_another_one_behind_a_url(tmp_path: Path, bucket) -> None:
    lines, url = logged.orders(8), "memory://b/serve.jsonl"
    bucket.pipe("/b/serve.jsonl", as_bytes(lines[:5]))
    digests = input_digests(LogsConfig(paths=(url,)), tmp_path)
    bucket.pipe("/b/serve.jsonl", as_bytes(lines))
    assert run(tmp_path, url, inputs=digests).report.kept == 5
    for n, other in enumerate((as_bytes(lines[1:]), as_bytes(lines[:4]), b"", as_bytes(lines).replace(b"200", b"201"))):
        bucket.pipe("/b/serve.jsonl", other)
        with pytest.raises(InputError, match="moved or cut off while it was read"):
            run(tmp_path, url, name=f"other{n}", inputs=digests)
    bucket.rm("/b/serve.jsonl")
    with pytest.raises(InputNotFoundError, match="no log here"):
        run(tmp_path, url, name="gone", inputs=digests)


class Broken(MemoryFileSystem):
    """A store whose answers break off."""

    protocol = "broken"

    def _open(self, path, mode="rb", **kwargs):
        opened = super()._open(path, mode, **kwargs)
        if mode == "rb":

            class Expired:
                def read(self, _most):
                    kind = type("FileExpired" if "expired" in path else "BotoLikeError", (Exception,), {})
                    raise kind("lost https://u:pw@h/x?sig=abc")

                def close(self):
                    pass

            return Expired()
        return opened


def test_a_store_that_fails_says_so_without_what_signs_a_url(tmp_path: Path, bucket) -> None:
    fsspec.register_implementation("broken", Broken, clobber=True)
    fsspec.filesystem("broken").pipe("broken://b/lost.jsonl", b"{}\n")
    fsspec.filesystem("broken").pipe("broken://b/expired.jsonl", b"{}\n")
    with pytest.raises(ServiceError, match="BotoLikeError: lost https://h/x") as failed:
        run(tmp_path, "broken://b/lost.jsonl")
    assert "abc" not in str(failed.value) and "pw" not in str(failed.value)
    with pytest.raises(InputError, match="moved or cut off"):
        run(tmp_path, "broken://b/expired.jsonl")
    with pytest.raises(MissingDependencyError, match="nosuchprotocol"):
        run(tmp_path, "nosuchprotocol://b/serve.jsonl")
    with pytest.raises(InputNotFoundError, match="no log here"):
        run(tmp_path, "memory://b/none.jsonl")


class Quiet(SimpleHTTPRequestHandler):
    """A file server; below /long it doesn't say how long a file is."""

    def log_message(self, *_args: object) -> None:
        pass

    def send_header(self, keyword: str, value: str) -> None:
        if not (keyword == "Content-Length" and "/long" in self.path):
            super().send_header(keyword, value)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_over_http_and_its_signature_stands_nowhere(tmp_path: Path, web: str) -> None:
    for folder in ("plain", "long"):
        logged.write(tmp_path / folder / "serve.jsonl", logged.orders(20))
    here = run(tmp_path, "plain")
    for folder in ("plain", "long"):
        url = f"{web}/{folder}/serve.jsonl?X-Signature=topsecret"
        digests = input_digests(LogsConfig(paths=(url,)), tmp_path)
        done = run(tmp_path, url, name=f"far-{folder}", inputs=digests)
        assert done.rows.digest == here.rows.digest
        told = [done.report.model_dump_json(), str(digests), str(pq.read_table(done.artifacts["log_facts"].path))]
        assert not [t for t in told if "topsecret" in t] and "/serve.jsonl?" in told[1]
    with pytest.raises((InputNotFoundError, ServiceError)) as failed:
        run(tmp_path, f"{web}/none.jsonl?X-Signature=topsecret")
    assert "topsecret" not in str(failed.value)
    with pytest.raises(ServiceError, match="can't be read"):
        run(tmp_path, "http://127.0.0.1:9/serve.jsonl")


@pytest.mark.slow
def test_logs_in_a_bucket(tmp_path: Path, s3: str) -> None:  # noqa: F811
    from s3fs import S3FileSystem

    fs, folder = S3FileSystem(), f"{s3}/{tmp_path.name}"
    lines = logged.orders(40)
    fs.pipe(f"{folder}/serve.jsonl", as_bytes(lines[20:]))
    fs.pipe(f"{folder}/serve.jsonl.1.gz", gzip.compress(as_bytes(lines[:21])))
    logged.write(tmp_path / "here" / "serve.jsonl", lines)
    digests = input_digests(LogsConfig(paths=(folder,)), tmp_path)
    fs.pipe(f"{folder}/serve.jsonl", as_bytes([*lines[20:], logged.line(99, "later", "x")]))
    far = run(tmp_path, folder, inputs=digests)
    assert far.rows.digest == run(tmp_path, "here", name="near").rows.digest
    fs.pipe(f"{folder}/serve.jsonl", as_bytes(lines[:3]))
    with pytest.raises(InputError, match="moved or cut off"):
        run(tmp_path, folder, name="other", inputs=digests)
