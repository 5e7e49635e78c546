"""`assay watch`: a training while it goes on, or as it was."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.live import Live

from ops.console import console, emit, say
from ops.watch.page import render_watch
from ops.watch.serve import page_server
from ops.watch.terminal import drawn
from ops.watch.watched import find_watched, watched_run
from steps.contracts.errors import InputNotFoundError
from steps.contracts.locks import is_held
from steps.contracts.storage import write_whole
from steps.train.watching.journal import Watched
from steps.zenml_runtime.state import state_folder

# Chosen: as often as the terminal is looked at anew.
_EVERY_SECONDS = 1.0


def watch(
    root: Path, run: str | None, html: Path | None, serve: bool, port: int, follow: bool, json_output: bool
) -> None:
    """Show what is seen of a run's training by now; with `follow` until it has ended.

    Raises:
        InputNotFoundError: nothing of such a run was seen here. ServiceError: the port is taken.
    """
    name = _waited_for(root, run) if (follow or serve) and not (html or json_output) else find_watched(root, run)
    if serve:
        _serve(root, name, port)
        return
    found = watched_run(root, name)
    if html is not None:
        write_whole(html, render_watch(found, live=False))
        say(str(html))
    elif json_output:
        emit({"run": found.name, "goes_on": found.goes_on, "phases": [_as_json(p) for p in found.phases]})
    elif follow and found.goes_on and console().is_terminal:
        _follow(root, name)
    else:
        console().print(drawn(found))


def _waited_for(root: Path, run: str | None) -> str:
    """The training that is meant; where a run of this machine goes on and trains nothing yet, once it does."""
    told = False
    while True:
        try:
            return find_watched(root, run)
        except InputNotFoundError:
            if not any(map(is_held, (state_folder(root) / "locks").glob("*.lock"))):
                raise
        if not told:
            told = True
            say("no training yet, but a run goes on: waiting for it; Ctrl-C ends it")
        time.sleep(_EVERY_SECONDS)


def _as_json(phase: Watched) -> dict[str, Any]:
    """All but the single validation rows."""
    return {k: v for k, v in asdict(phase).items() if k != "validated"}


def _follow(root: Path, name: str) -> None:
    with Live(drawn(watched_run(root, name)), console=console(), auto_refresh=False) as live:
        while True:
            found = watched_run(root, name)
            live.update(drawn(found), refresh=True)
            if not found.goes_on:
                return
            time.sleep(_EVERY_SECONDS)


def _serve(root: Path, name: str, port: int) -> None:
    server = page_server(lambda: render_watch(watched_run(root, name), live=True), port)
    say(f"http://127.0.0.1:{server.server_address[1]}/ shows {name}, on this machine alone; Ctrl-C ends it")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
