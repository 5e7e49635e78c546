"""ZenML's store as somebody else's server: down, silent, another program, another version; said once and in seconds."""

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import zenml
from requests import ConnectionError as NoConnection
from requests import Request
from zenml.exceptions import CredentialsNotValid
from zenml.zen_stores.rest_zen_store import RestZenStore

from steps.contracts.errors import ConfigError, ServiceError
from steps.zenml_runtime import database, remote_store
from steps.zenml_runtime.remote_store import store_error


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def saying(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_store, "_SECONDS", 0.2)


def refusal(url: str) -> str:
    check = remote_store._check_database if url.startswith("mysql") else remote_store._check_server
    with pytest.raises(ServiceError) as caught:
        check(url)
    assert caught.value.hint
    return f"{caught.value.where}: {caught.value.what}"


def test_server_that_takes_connections_and_says_nothing() -> None:
    with silent() as port:
        said = refusal(f"http://127.0.0.1:{port}")
        assert said.startswith(f"http://127.0.0.1:{port}: ZenML's server didn't answer within 0.2 s")
        said = refusal(f"mysql://team:secret@127.0.0.1:{port}/zenml")
        assert "ZenML's database didn't answer within 0.2 s" in said and "secret" not in said


def test_server_that_is_down() -> None:
    with silent() as port:
        pass
    assert "can't be reached" in refusal(f"http://127.0.0.1:{port}")
    said = refusal(f"mysql://team:secret@127.0.0.1:{port}/zenml")
    assert "ZenML's database can't be reached" in said and "secret" not in said


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"", "it answers with status 404"),
        (503, b"", "it answers with status 503"),
        (200, b"<html>welcome</html>", "what it answers says no version"),
        (200, b"[1]", "what it answers says no version"),
    ],
)
def test_what_listens_there_is_no_server_of_zenml(status: int, body: bytes, said: str) -> None:
    with saying(status, body) as url:
        assert said in refusal(url)


def test_server_of_another_version_is_a_matter_of_configuration() -> None:
    with saying(200, json.dumps({"version": "0.91.0"}).encode()) as url:
        with pytest.raises(ConfigError, match=r"runs ZenML 0\.91\.0, and this is") as caught:
            remote_store._check_server(url)
        assert caught.value.hint
    with saying(200, json.dumps({"version": zenml.__version__}).encode()) as url:
        remote_store._check_server(url)


def test_error_of_a_step_that_comes_from_the_store_names_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    class Configuration:
        class store_configuration:  # noqa: N801 - as ZenML's
            type, url = "rest", "http://zenml.example"

    monkeypatch.setattr(remote_store, "GlobalConfiguration", Configuration)

    def lost(url: str) -> NoConnection:
        return NoConnection("Max retries exceeded", request=Request("PUT", url))

    of_store = store_error(lost("http://zenml.example/api/v1/steps/1"))
    assert isinstance(of_store, ServiceError) and "doesn't answer any more" in str(of_store)
    assert store_error(lost("http://mlflow.example/api")) is None and store_error(ValueError("no")) is None
    ended = RuntimeError("the store can't be initialized")
    ended.__cause__ = CredentialsNotValid("token expired")
    of_key = store_error(ended)
    assert isinstance(of_key, ServiceError) and "refuses the credentials" in str(of_key)


def test_patience_is_ours_and_the_rest_zenmls() -> None:
    """ZenML's adapter still has the tries that ours are made of."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    class Store(RestZenStore):
        def __init__(self) -> None:
            pass

        @property
        def session(self) -> requests.Session:
            return session

    session = requests.Session()
    for prefix in ("http://", "https://"):
        session.mount(prefix, HTTPAdapter(max_retries=Retry(connect=5, read=8, backoff_factor=1)))
    remote_store._be_patient(Store())
    patient = session.get_adapter("http://x").max_retries
    assert (patient.connect, patient.read, patient.backoff_max) == (9, 8, 60)
    assert patient.increment("GET", "/", error=OSError()).connect is not None and type(patient.new()) is type(patient)


def stamped(file: Path, version: str) -> Path:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        connection.commit()
    return file


def test_local_database_of_an_older_version_is_copied_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = stamped(tmp_path / "zenml.db", "0.93.0")
    database._check_version(file)
    copy = tmp_path / "zenml-of-0.93.0.db"
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0.93.0",)]
    database._check_version(stamped(tmp_path / "now.db", zenml.__version__))
    assert sorted(p.name for p in tmp_path.glob("*-of-*")) == [copy.name]


def test_local_database_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    file = stamped(tmp_path / "zenml.db", "9.9.9")
    before = file.read_bytes()
    with pytest.raises(ConfigError, match=r"of ZenML 9\.9\.9, which") as caught:
        database._check_version(file)
    assert "nothing was changed" in str(caught.value.hint)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
