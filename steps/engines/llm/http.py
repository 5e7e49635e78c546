"""HTTP to one OpenAI-compatible server, and how its requests fail."""

import json
import ssl
import urllib.request
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import certifi

from steps.engines.llm.endpoint import Connection

# Chosen: a chat's reply has kilobytes, a batch's results hundreds of megabytes at most; a longer one isn't read on.
_MOST_BYTES = 1 << 30


class StatusError(Exception):
    """The server answered with a status that isn't a success.

    Attributes:
        status: of HTTP. headers: of the answer, names in lower case.
        param, code: the request's field that the server names, and its name for the fault; whatever it sent.
        message: the server's words, which may repeat what was sent: never shown.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        said = _said(body)
        self.param, self.code = said.get("param"), said.get("code")
        self.message = str(said.get("message", ""))


class UnreachableError(Exception):
    """There is no connection, or it ended before the whole answer was there."""


def _said(body: bytes) -> dict[str, Any]:
    """What stands under `error` in a server's answer, or in the answer itself; {} where it is no JSON object."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    inner = value.get("error", value) if isinstance(value, dict) else {}
    return inner if isinstance(inner, dict) else {"message": inner}


class Http:
    """Requests to one server; an async context manager within one event loop.

    Never elsewhere than `base_url` says: no redirects, and no proxy for a server on this machine.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = connection.read_key()
        self._session: aiohttp.ClientSession | None = None
        self._proxy = None if connection.on_this_machine else _proxy(connection.base_url)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of the answer to a JSON body.

        Raises:
            StatusError, UnreachableError, TimeoutError: there is no such answer.
            ValueError: what came is no JSON.
        """
        # As the services' own clients send it: what can't be encoded (half of a surrogate pair) is replaced.
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return json.loads(await self.request("POST", path, data=data, headers={"content-type": "application/json"}))

    async def get(self, path: str) -> Any:
        """The JSON of an answer.

        Raises: as `post`.
        """
        return json.loads(await self.request("GET", path))

    async def request(self, method: str, path: str, **given: Any) -> bytes:
        """The body of a successful answer. `path` begins with a slash; `given`: as aiohttp's `request` takes it.

        Raises:
            StatusError, UnreachableError, TimeoutError: there is no such answer.
        """
        if self._session is None:
            self._session = _session(self._connection, self._key)
        url = self._connection.base_url + path
        try:
            async with self._session.request(method, url, allow_redirects=False, proxy=self._proxy, **given) as answer:
                body = bytearray()
                async for part in answer.content.iter_any():
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise UnreachableError("the answer doesn't end")
                if not 200 <= answer.status < 300:
                    raise StatusError(answer.status, answer.headers, bytes(body))
                return bytes(body)
        except aiohttp.ClientError as error:
            raise UnreachableError(type(error).__name__) from error


def _session(connection: Connection, key: str) -> aiohttp.ClientSession:
    secure = urlsplit(connection.base_url).scheme == "https"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=_certificates() if secure else True),
        headers={"authorization": f"Bearer {key}", "accept": "application/json"},
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _certificates() -> ssl.SSLContext:
    """The system's certificates, or those that SSL_CERT_FILE names, and Mozilla's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
