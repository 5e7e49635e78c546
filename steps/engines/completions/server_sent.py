"""Answers of a server on this machine over HTTP, whole or event by event; let go when nobody waits for them."""

import http.client
import json
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from steps.contracts.errors import ServiceError

# Chosen: seconds without a word after which a server is given up.
_PATIENCE = 600
# Chosen: seconds for which an answer goes on at most that nobody waits for.
_GLANCE = 0.25
_FINE = 200
_DATA = b"data: "


def whole(
    address: str, path: str, body: Mapping[str, Any], key: str, gone: Callable[[], bool]
) -> dict[str, Any] | None:
    """The answer; None: nobody waits for it.

    Raises:
        ServiceError: there is none.
    """
    with closing(_connection(address)) as connection:
        _send(connection, path, body, key)
        if not _answers(connection, gone):
            return None
        reply = _reply(connection, path)
        try:
            found: dict[str, Any] = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise _no_end(path, e) from e
        return found


def events(
    address: str, path: str, body: Mapping[str, Any], key: str, gone: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """The answer's events, as they come; none more when nobody waits.

    Raises:
        ServiceError: it is refused, or ends in the middle of an event. Whether all came is for the reader to say.
    """
    with closing(_connection(address)) as connection:
        _send(connection, path, body, key)
        if not _answers(connection, gone):
            return
        reply = _reply(connection, path)
        try:
            for line in reply:
                if gone():
                    return
                if not line.startswith(_DATA) or (data := line[len(_DATA) :].strip()) == b"[DONE]":
                    continue
                event: dict[str, Any] = json.loads(data)
                if "error" in event:
                    break
                yield event
            else:
                return
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise _no_end(path, e) from e
        raise ServiceError(f"the answer failed: {_message(event)}", where=path)


def _connection(address: str) -> http.client.HTTPConnection:
    found = urlsplit(address)
    return http.client.HTTPConnection(found.hostname or "", found.port, timeout=_PATIENCE)


def _send(connection: http.client.HTTPConnection, path: str, body: Mapping[str, Any], key: str) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
    except OSError as e:
        raise ServiceError("the engine can't be reached", where=path) from e


def _answers(connection: http.client.HTTPConnection, gone: Callable[[], bool]) -> bool:
    """Wait for the answer's first byte, or until nobody waits."""
    waited = 0.0
    while not gone():
        if select.select([connection.sock], [], [], _GLANCE)[0]:
            return True
        waited += _GLANCE
        if waited > _PATIENCE:
            raise ServiceError(f"no word of the engine for {_PATIENCE} s", where=connection.host)
    return False


def _reply(connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
    try:
        reply = connection.getresponse()
        if reply.status == _FINE:
            return reply
        text = reply.read(4_000)
    except (OSError, http.client.HTTPException) as e:
        raise _no_end(path, e) from e
    try:
        said = _message(json.loads(text))
    except ValueError:
        said = text.decode(errors="replace")[:300]
    raise ServiceError(f"the engine refuses it with {reply.status}: {said}", where=path)


def _message(told: Any) -> str:
    error = told.get("error", told) if isinstance(told, dict) else told
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def _no_end(path: str, error: Exception) -> ServiceError:
    return ServiceError(f"the engine's answer has no end: {type(error).__name__}", where=path)
