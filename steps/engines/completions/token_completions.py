"""OpenAI's `/v1/completions` by token ids, with vLLM's `return_token_ids` and `stop_token_ids` (from 0.10.2 on)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steps.contracts.errors import ServiceError
from steps.engines.completions.completer import Listener, Wanted
from steps.engines.completions.server_sent import events

_PATH = "/v1/completions"
_SEEDS = 2**63


class TokenCompleter:
    """A server at an address. `ends`: by a model's name, the tokens that end its answers."""

    def __init__(self, address: str, key: str, ends: Mapping[str, Sequence[int]]) -> None:
        self._address, self._key, self._ends = address, key, ends

    def complete(self, wanted: Wanted, listener: Listener, gone: Callable[[], bool]) -> None:
        """All ids, as they come.

        Raises:
            ServiceError: it is refused, has no end, or its ids aren't told.
        """
        ends, finish, told = frozenset(self._ends[wanted.model]), None, 0
        for event in events(self._address, _PATH, _body(wanted, sorted(ends)), self._key, gone):
            for choice in event.get("choices", ()):
                ids = choice.get("token_ids")
                if ids is None and choice.get("text"):
                    raise ServiceError("the engine tells no token ids: vLLM does from 0.10.2 on", where=_PATH)
                for token in ids or ():
                    told += 1
                    if token not in ends and listener.hear(int(token)):
                        return
                finish = choice.get("finish_reason") or finish
        if not gone() and (finish not in ("stop", "length") or (finish == "length" and told < wanted.room)):
            raise ServiceError(f"the engine's answer has no end, but: {finish}", where=_PATH)


def _body(wanted: Wanted, ends: Sequence[int]) -> dict[str, Any]:
    chance = {"temperature": wanted.temperature, "top_p": wanted.top_p if wanted.temperature else 1.0}
    seed = {} if wanted.seed is None else {"seed": wanted.seed % _SEEDS}
    return {
        "model": wanted.model, "prompt": list(wanted.ids), "max_tokens": wanted.room, "stream": True, "n": 1, **chance,
        **seed, "stop_token_ids": list(ends), "skip_special_tokens": False, "return_token_ids": True,
    }  # fmt: skip
