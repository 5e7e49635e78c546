"""llama.cpp's server, asked by token ids."""

import secrets
from collections.abc import Callable
from typing import Any

from steps.contracts.errors import ServiceError
from steps.engines.completions.completer import Listener, Wanted
from steps.engines.completions.server_sent import events, whole

_PATH = "/completion"
# llama.h: LLAMA_DEFAULT_SEED, by which any is drawn.
_ANY_SEED = 2**32 - 1


class LlamaCompleter:
    """A server at an address.

    Args:
        remembers: whether what a prompt has in common with an earlier one isn't computed again, by which sums may round
            otherwise.
    """

    def __init__(self, address: str, key: str, *, remembers: bool) -> None:
        self._address, self._key, self._remembers = address, key, remembers

    def complete(self, wanted: Wanted, listener: Listener, gone: Callable[[], bool]) -> None:
        """In pieces its text, since it tells no ids of characters that several tokens make; at once all its ids.

        Raises:
            ServiceError: it is refused, or has no end.
        """
        body = {**_sampling(wanted), "prompt": list(wanted.ids), "n_predict": wanted.room,
                "cache_prompt": self._remembers}  # fmt: skip
        if wanted.piecewise:
            self._in_pieces(body, listener, gone)
        else:
            self._at_once(body, listener, gone)

    def tokens(self, text: str) -> list[int]:
        """The ids of a text. Special tokens are read as such; none is added.

        Raises:
            ServiceError: the server doesn't answer.
        """
        asked = {"content": text, "add_special": False, "parse_special": True}
        found = whole(self._address, "/tokenize", asked, self._key, lambda: False)
        return [int(i) for i in (found or {}).get("tokens", [])]

    def _in_pieces(self, body: dict[str, Any], listener: Listener, gone: Callable[[], bool]) -> None:
        told, last = 0, dict[str, Any]()
        for event in events(self._address, _PATH, {**body, "stream": True}, self._key, gone):
            said, last = int(event["tokens_predicted"]) - _ended(event), event
            if said > told and listener.hear_text(str(event["content"]), said - told):
                return
            told = said
        if not gone():
            _require_whole(last, body["n_predict"])

    def _at_once(self, body: dict[str, Any], listener: Listener, gone: Callable[[], bool]) -> None:
        found = whole(self._address, _PATH, {**body, "return_tokens": True}, self._key, gone)
        if found is None:
            return
        _require_whole(found, body["n_predict"])
        ids = [int(i) for i in found["tokens"]]
        for token in ids[:-1] if _ended(found) else ids:
            if listener.hear(token):
                return


def _ended(event: dict[str, Any]) -> bool:
    """Whether its last token is what ended the answer."""
    return event.get("stop_type") == "eos"


def _require_whole(event: dict[str, Any], room: int) -> None:
    """Raise ServiceError where an answer's last event isn't its end."""
    if not event.get("stop"):
        raise ServiceError("the engine's answer has no end", where=_PATH)
    if not _ended(event) and event["tokens_predicted"] < room:
        raise ServiceError(f"the engine's answer was cut after {event['tokens_predicted']} tokens", where=_PATH)


def _sampling(wanted: Wanted) -> dict[str, Any]:
    if not wanted.temperature:
        return {"temperature": 0.0}
    seed = secrets.randbelow(_ANY_SEED) if wanted.seed is None else wanted.seed % _ANY_SEED
    return {"temperature": wanted.temperature, "top_p": wanted.top_p, "seed": seed,
            "samplers": ["temperature", "top_p"]}  # fmt: skip
