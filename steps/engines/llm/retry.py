"""Which failures of a request may pass if it is sent again, and how long to wait before."""

import email.utils
import math
import random
import time
from collections.abc import Mapping

from steps.engines.llm.endpoint import Connection
from steps.engines.llm.http import StatusError, UnreachableError

# What a request can end with instead of a whole answer; ValueError: what came isn't what was asked for.
FAILURES = (StatusError, UnreachableError, TimeoutError, ValueError)
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429})
_NOT_IMPLEMENTED = 501
# A server that has too much to do says so with one of these.
BUSY = frozenset({429, 503})


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait that a server asks for (Retry-After in seconds or as a date, retry-after-ms); None when it doesn't."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / divisor
        except ValueError:
            continue
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(email.utils.mktime_tz(date) - time.time(), 0.0)


def asked_wait(error: BaseException | None) -> float | None:
    """Seconds that the server asked for in this error's reply; None when it didn't."""
    return retry_after_seconds(error.headers) if isinstance(error, StatusError) else None


def is_transient(error: BaseException, endpoint: Connection) -> bool:
    """Whether the same request may succeed later: no connection, timeout, 408/409/425/429, 5xx, half a reply.

    Not when the server asks for a longer wait than the endpoint allows, or says that the quota is spent.
    """
    if isinstance(error, StatusError):
        if error.code == "insufficient_quota" or error.status == _NOT_IMPLEMENTED:
            return False
        wait = asked_wait(error)
        if wait is not None and wait > endpoint.max_retry_after_seconds:
            return False
        return error.status in _TRANSIENT_STATUS or error.status >= 500
    return isinstance(error, UnreachableError | TimeoutError | ValueError)


def seconds_before(attempt: int, error: BaseException, endpoint: Connection) -> float:
    """How long to wait before the attempt of this number (2 is the first one again): full-jitter exponential backoff,
    never shorter than the server's Retry-After.
    """
    most = min(endpoint.initial_backoff_seconds * 2.0 ** (attempt - 2), endpoint.max_backoff_seconds)
    jittered = random.uniform(0.0, most)
    asked = asked_wait(error)
    # Jitter on top of the asked wait, so that waiting requests don't come back in one burst.
    return jittered if asked is None else asked + min(jittered, 0.25 * asked + 0.05)
