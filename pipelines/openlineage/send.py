"""Events on their way: posted to a server, or written to a file. Nothing here ever raises, or takes long."""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from pipelines.openlineage.config import KEY, Endpoint
from steps.engines.tracking.secrets import without_secret

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent


def send(make: Callable[[], Iterable["RunEvent"]], endpoint: Endpoint, root: Path) -> str:
    """Make and send events, in order. Returns why some weren't taken; "": all were.

    What takes longer than the endpoint's seconds is given up: a name server that doesn't answer, a server that dawdles.
    """
    why = [f"no answer in {endpoint.seconds:g} s"]
    thread = threading.Thread(target=_try, args=(make, endpoint, root, why), name="openlineage", daemon=True)
    thread.start()
    thread.join(endpoint.seconds)
    return without_secret(why[0])


def _try(make: Callable[[], Iterable["RunEvent"]], endpoint: Endpoint, root: Path, why: list[str]) -> None:
    try:
        _send(make, endpoint, root)
        why[0] = ""
    except ImportError as e:
        why[0] = f"{e}: pip install 'assay[openlineage]'"
    except Exception as e:  # noqa: BLE001 - a run goes on whatever becomes of its events
        why[0] = f"{type(e).__name__}: {(str(e).splitlines() or [''])[0][:300]}"


def _send(make: Callable[[], Iterable["RunEvent"]], endpoint: Endpoint, root: Path) -> None:
    emit, end = _poster(endpoint) if endpoint.is_server else _writer(endpoint.url, root), monotonic() + endpoint.seconds
    for event in make():
        if monotonic() > end:
            # Given up: nobody listens to this thread any more.
            return
        emit(event)


def _poster(endpoint: Endpoint) -> Callable[["RunEvent"], object]:
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    key = os.environ.get(KEY)
    config = HttpConfig.from_dict(
        {
            "url": endpoint.url if endpoint.url.endswith("/") else f"{endpoint.url}/",
            "endpoint": endpoint.path.lstrip("/"),
            "timeout": endpoint.seconds,
            "retry": {"total": 0, "connect": 0, "read": 0, "status_forcelist": []},
            "auth": {"type": "api_key", "apiKey": key} if key else {},
        }
    )
    return HttpTransport(config).emit


def _writer(url: str, root: Path) -> Callable[["RunEvent"], object]:
    from openlineage.client.transport.file import FileConfig, FileTransport

    if "://" in url and not url.startswith("file://"):
        # Objects of a store can't grow: one for each event.
        return FileTransport(FileConfig(url)).emit
    file = root / url.removeprefix("file://")
    file.parent.mkdir(parents=True, exist_ok=True)
    return lambda event: _append(file, event)


def _append(file: Path, event: "RunEvent") -> None:
    """A line more, in one piece: several runs may write."""
    from openlineage.client.serde import Serde

    with file.open("ab", buffering=0) as out:
        out.write(f"{Serde.to_json(event)}\n".encode())
