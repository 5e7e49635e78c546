"""What Kubernetes' API answers, as its library gives it."""

import json
from collections.abc import Callable
from typing import Any


def there_or_none(call: Callable[[], Any]) -> dict[str, Any] | None:
    """What the API answers to a call without preloaded content; None where it knows no such thing."""
    from kubernetes.client import ApiException

    try:
        found: dict[str, Any] = json.loads(call().data)
        return found
    except ApiException as e:
        if e.status == 404:
            return None
        raise


def message_of(error: Any) -> str:
    """Why it refused something, in its own words."""
    try:
        return str(json.loads(error.body)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
