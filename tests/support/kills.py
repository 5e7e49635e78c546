"""Processes that ask a scripted server, killed at any moment and begun again."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

from engines.llm.scripted_server import ScriptedServer


def killed(
    start: Callable[[], "subprocess.Popen[str]"], server: ScriptedServer, times: int, chance: random.Random, within: int
) -> None:
    """Start it and kill it (SIGKILL), so many times: after up to `within` further requests, which may be while it
    starts, or before the first reply.
    """
    for _ in range(times):
        child = start()
        until = len(server.bodies) + chance.randrange(within)
        while len(server.bodies) < until and child.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        assert child.poll() is None, "it ended before it could be killed: too little to do for so many kills"
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        time.sleep(0.05)
