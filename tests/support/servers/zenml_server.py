"""A ZenML server on a loopback port, with accounts, that can be killed and started again in the middle of a test."""

import json
import signal
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.servers.process import ROOT, answers, end, free_port, needs, started

_ADMIN, _PASSWORD = "admin", "Only-for-tests-1"


@dataclass
class ZenmlServer:
    """`environment(user)` is what leads to it as that user."""

    url: str
    folder: Path
    settings: dict[str, str]
    process: Any = None
    keys: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        port = self.url.rsplit(":", 1)[1]
        command = [
            python(), "-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", "127.0.0.1", "--port", port
        ]  # fmt: skip
        self.process = started(command, self.folder, lambda: answers(f"{self.url}/health"), self.settings)

    def kill(self) -> None:
        end(self.process, signal.SIGKILL)

    def environment(self, user: str) -> dict[str, str]:
        """As a service account's key leads to it."""
        return {"ZENML_STORE_URL": self.url, "ZENML_STORE_API_KEY": self.keys[user]}

    def add_user(self, name: str) -> None:
        """A service account with a key of its own."""
        account = self.ask("POST", "/service_accounts", {"name": name, "active": True})
        self.accounts[name] = account["id"]
        made = self.ask("POST", f"/service_accounts/{account['id']}/api_keys", {"name": "test"})
        self.keys[name] = made["body"]["key"]

    def revoke(self, name: str) -> None:
        self.ask("PUT", f"/service_accounts/{self.accounts[name]}/api_keys/test", {"active": False})

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """As its administrator."""
        login = urllib.parse.urlencode({"username": _ADMIN, "password": _PASSWORD}).encode()
        token = self._asked("POST", "/login", login, {})["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self._asked(method, path, json.dumps(body).encode() if body is not None else None, headers)

    def _asked(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read())


def python() -> str:
    """Of the server's own environment."""
    return needs(ROOT / ".venv-server" / "bin" / "python", "make server-env")


@contextmanager
def zenml_server(folder: Path, database: str = "", users: Sequence[str] = ()) -> Iterator[ZenmlServer]:
    """`database`: its URL; by default a file in `folder`."""
    python()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "ZENML_CONFIG_PATH": str(folder / "config"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "WARN",
        "ZENML_STORE_TYPE": "sql",
        "ZENML_STORE_URL": database or f"sqlite:///{folder}/zenml.db",
        "ZENML_STORE_API_KEY": "",
        # Counts as remote: steps may run anywhere.
        "ZENML_SERVER_DEPLOYMENT_TYPE": "other",
        "ZENML_SERVER_AUTH_SCHEME": "OAUTH2_PASSWORD_BEARER",
        "ZENML_SERVER_AUTO_ACTIVATE": "1",
        "ZENML_SERVER_JWT_SECRET_KEY": "0" * 64,
        "ZENML_DEFAULT_USER_NAME": _ADMIN,
        "ZENML_DEFAULT_USER_PASSWORD": _PASSWORD,
        "PYTHONPATH": "",
    }
    server = ZenmlServer(f"http://127.0.0.1:{free_port()}", folder, settings)
    server.start()
    try:
        for user in users:
            server.add_user(user)
        yield server
    finally:
        end(server.process)
