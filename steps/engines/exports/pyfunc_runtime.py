"""A model in MLflow's format as its users load it, in a process that knows nothing of ours."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steps.contracts.errors import IntegrityError
from steps.contracts.records import Row
from steps.engines.exports.conversations import served_row
from steps.engines.exports.folder_format import Asked

_PROGRAM = Path(__file__).with_name("ask_pyfunc.py")
# Chosen: texts that are asked about at once.
_TOGETHER = 256


class PyfuncRuntime:
    """MLflow's model in another process."""

    def __init__(self, process: subprocess.Popen[str], location: str, log: Path) -> None:
        self._process, self._location, self._log = process, location, log
        self._ends: set[int] | None = None
        self._texts: dict[str, list[int]] = {}

    def prompt_ids(self, asked: Asked) -> list[int]:
        """As it renders a row's messages; a plain text is one user message to it."""
        row = {"prompt": asked} if isinstance(asked, str) else {"messages": [dict(m) for m in asked]}
        return [int(i) for i in self._ask(what="prompt", row=row)]

    def foresee(self, texts: Sequence[str]) -> None:
        """Texts that are asked about soon, tokenised some at a time."""
        for start in range(0, len(texts), _TOGETHER):
            some = list(texts[start : start + _TOGETHER])
            self._texts |= dict(zip(some, self._ask(what="texts", texts=some), strict=True))

    def token_ids(self, text: str) -> list[int]:
        """No special token is added."""
        if text not in self._texts:
            self.foresee([text])
        return self._texts[text]

    def next_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """One pass over prompt and answer."""
        return [int(i) for i in self._ask(what="next", prompt=list(prompt), answer=list(answer))]

    def ends_with(self, token: int) -> bool:
        """As its settings say."""
        if self._ends is None:
            self._ends = set(self._ask(what="ends"))
        return token in self._ends

    def converse(self, rows: Sequence[Row], rooms: Sequence[int]) -> list[str]:
        """By `predict`, rows of one room together."""
        answers = [""] * len(rows)
        for room in sorted(set(rooms)):
            of_room = [i for i, own in enumerate(rooms) if own == room]
            said = self._ask(what="predict", rows=[served_row(rows[i]) for i in of_room], room=room)
            for i, text in zip(of_room, said, strict=True):
                answers[i] = str(text)
        return answers

    def _ask(self, **asked: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            last = (self._log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise IntegrityError(f"MLflow's model doesn't answer: {last[:300]}", where=self._location)
        return json.loads(line)


@contextmanager
def pyfunc_runtime(location: str, tracking_uri: str, scratch: Path) -> Iterator[PyfuncRuntime]:
    """The model at a folder or URI of MLflow.

    Raises:
        IntegrityError: it can't be loaded.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    log = scratch / "pyfunc.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), location], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            text=True, encoding="utf-8", cwd=scratch, env={**kept, "MLFLOW_TRACKING_URI": tracking_uri},
        )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        yield PyfuncRuntime(process, location, log)
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
