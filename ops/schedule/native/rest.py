"""Services that are told by HTTP and JSON: one request, and operations that take their time."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from steps.contracts.errors import ServiceError

# Chosen: a service's front door answers in a second or two.
_SECONDS = 60.0
# Chosen: schedules are made and removed in seconds; after so long somebody should look.
_LONGEST_WAIT = 180.0
_BETWEEN = 1.0


@dataclass(frozen=True)
class Answer:
    """What came back: the body's JSON ({} without one), and headers by their lower-case names."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Rest:
    """One service.

    Attributes:
        base: address that paths are below.
        token: gives the bearer token of this moment.
        label: the service, for people. hint: where to look when it refuses.
        query: parameters of every request.
    """

    base: str
    token: Callable[[], str]
    label: str
    hint: str
    query: Mapping[str, str]

    def call(self, method: str, path: str, body: Any = None, **query: str) -> Answer | None:
        """What it answers; None where it knows no such thing. `path`: below `base`, or an address of its own.

        Raises:
            ServiceError: it refuses, or doesn't answer.
        """
        url = path if "://" in path else f"{self.base}/{path}"
        asked = {**({} if "://" in path else self.query), **query}
        url += ("&" if "?" in url else "?") + urlencode(asked) if asked else ""
        headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
                text = reply.read()
                return Answer(json.loads(text) if text.strip() else {}, _lower(reply.headers))
        except urllib.error.HTTPError as e:
            if e.code == 404:
                return None
            raise self.refused(f"{e.code}: {_said(e)}") from e
        except (OSError, ValueError) as e:
            raise self.refused(str(e)) from e

    def settled(self, step: Callable[[], Mapping[str, Any] | None], what: str) -> Mapping[str, Any]:
        """What a step says once it says something, asked again and again.

        Raises:
            ServiceError: it doesn't come to an end.
        """
        until = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < until:
            if (done := step()) is not None:
                return done
            time.sleep(_BETWEEN)
        raise self.refused(f"{what} has no end after {_LONGEST_WAIT:.0f} s")

    def refused(self, why: str) -> ServiceError:
        """The error that says so."""
        return ServiceError(f"{self.label} refused it: {why[:300]}", where=self.label, hint=self.hint)


def _said(error: urllib.error.HTTPError) -> str:
    """The service's own words: Google's and Microsoft's errors are {"error": {"message": ...}}."""
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text or error.reason


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
