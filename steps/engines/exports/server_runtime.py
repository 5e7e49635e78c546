"""A model behind a server of chat completions on this machine, asked over HTTP as its users ask it.

The server must tell token ids where they are asked for (`return_token_ids`): `prompt_token_ids`, and `token_ids` of the
answer without what ended it.
"""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from steps.contracts.errors import IntegrityError, ServiceError
from steps.contracts.records import Row
from steps.engines.exports.conversations import openai_request
from steps.engines.exports.folder_format import Asked

# Chosen: seconds for one answer of a large model on a CPU, and for the server to have loaded it.
_PATIENCE, _LOADING = 1800, 1800
# Chosen: questions at once.
_TOGETHER = 8
_FINE = 200


class ServerRuntime:
    """A server at an address. It is asked messages alone: no text, and no answer that has begun."""

    def __init__(self, address: str, model: str, ends: Sequence[int]) -> None:
        self._address, self._model, self._ends = urlsplit(address), model, ends
        # By the tokens that they become.
        self._asked: dict[tuple[int, ...], Asked] = {}

    def prompt_ids(self, asked: Asked) -> list[int]:
        """As it says that it rendered and tokenised the messages."""
        found = [int(i) for i in self._complete(_messages(asked), 1)["prompt_token_ids"]]
        self._asked[tuple(found)] = asked
        return found

    def token_ids(self, text: str) -> list[int]:
        """Nobody can ask it for that."""
        raise NotImplementedError

    def next_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Its greedy answer, up to the first token that is another one.

        Raises:
            IntegrityError: it goes on where the answer ends.
        """
        choice = self._complete(_messages(self._asked[tuple(prompt)]), len(answer))["choices"][0]
        said = [int(i) for i in choice["token_ids"]]
        if choice["finish_reason"] == "stop":
            # Which of the ends it was isn't told.
            wanted = answer[len(said)] if len(said) < len(answer) else None
            said.append(wanted if wanted is not None and wanted in self._ends else self._ends[0])
        elif said == list(answer) and said[-1] in self._ends:
            raise IntegrityError(f"the server goes on behind the token {said[-1]}, which ends the model's answers")
        other = next((i for i, (a, b) in enumerate(zip(said, answer, strict=False)) if a != b), len(answer))
        return said[: other + 1][: len(answer)]

    def ends_with(self, token: int) -> bool:
        """Nobody can make it say a token."""
        raise NotImplementedError

    def converse(self, rows: Sequence[Row], rooms: Sequence[int]) -> list[str]:
        """Some at a time."""
        with ThreadPoolExecutor(_TOGETHER) as threads:
            done = threads.map(self._complete, [openai_request(row) for row in rows], rooms)
            return [str(reply["choices"][0]["message"]["content"] or "") for reply in done]

    def _complete(self, asked: dict[str, Any], room: int) -> dict[str, Any]:
        body = {"model": self._model, **asked, "max_tokens": room, "temperature": 0, "return_token_ids": True}
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=_PATIENCE
        )  # fmt: skip
        try:
            connection.request(
                "POST", f"{self._address.path}/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            reply = connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException) as e:
            raise IntegrityError(f"the server doesn't answer: {e!s:.200}", where=self._address.geturl()) from e
        finally:
            connection.close()
        if reply.status != _FINE:
            said = text.decode(errors="replace")[:300]
            raise IntegrityError(f"the server refuses a request ({reply.status}): {said}", where=self._address.geturl())
        found: dict[str, Any] = json.loads(text)
        return found


def _messages(asked: Asked) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}] if isinstance(asked, str) else [dict(m) for m in asked]}


@contextmanager
def server_runtime(
    command: Sequence[str], model: str, ends: Sequence[int], cwd: Path, scratch: Path
) -> Iterator[ServerRuntime]:
    """A server that `command` starts; `ends`: tokens that end the model's answers. It says its address on
    standard error (`http://HOST:PORT/v1`). `cwd`: where it runs; what it says goes into `scratch`.

    Raises:
        ServiceError: it doesn't come up.
    """
    log = scratch / "server.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, cwd=cwd
        )
    try:
        yield ServerRuntime(_address(process, log), model, ends)
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits for it."""
    until = time.monotonic() + _LOADING
    while time.monotonic() < until:
        said = log.read_text(errors="replace")
        found = next((w for w in said.split() if w.startswith("http://") and w.endswith("/v1")), None)
        if found is not None and said.endswith("\n"):
            return found
        if process.poll() is not None:
            last = (said.strip().splitlines() or ["no word"])[-1]
            raise ServiceError(f"the server ended before it answered: {last[:300]}")
        time.sleep(0.1)
    raise ServiceError(f"the server wasn't there after {_LOADING} s")
