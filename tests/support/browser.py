"""A real browser, told what to do over a pipe by its own protocol (Chrome DevTools)."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Browser:
    """One page. `faults`: what its console and its content policy complained of; `asked`: what it has loaded."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._left = write, read, b""
        self._number, self._session = 0, None
        self.faults: list[str] = []
        self.asked: list[str] = []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its result."""
        self._number += 1
        told = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._write, json.dumps(told).encode() + b"\0")
        while (found := self._next()).get("id") != self._number:
            if found.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.faults.append(json.dumps(found["params"])[:500])
            elif found.get("method") == "Network.requestWillBeSent":
                self.asked.append(found["params"]["request"]["url"])
        assert "error" not in found, found
        return found["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        done = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> Any:
        """The expression's value as soon as it is true."""
        for _ in range(int(seconds / 0.1)):
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s: {script}; the page says {self.run('document.body.innerText')}")

    def picture(self, file: Path) -> None:
        """The window as a PNG."""
        file.write_bytes(base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser is gone"
            self._left += data
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Chromium without a window; the test is skipped where there is none."""
    if shutil.which("chromium") is None:
        pytest.skip("NOT TESTED: no chromium here")
    pipes = [os.pipe(), os.pipe()]
    (to_read, write), (read, to_write) = [[fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in p] for p in pipes]
    for end in (*pipes[0], *pipes[1]):
        os.close(end)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
               f"--user-data-dir={folder / 'profile'}", "--window-size=1280,900"]  # fmt: skip
    # It reads from 3 and writes to 4.
    shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *command]
    with subprocess.Popen(shell, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL) as process:
        os.close(to_read)
        os.close(to_write)
        try:
            yield Browser(write, read)
        finally:
            process.terminate()
            os.close(write)
            os.close(read)
