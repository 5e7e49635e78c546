"""A GGUF file in llama.cpp, asked over its own HTTP interface; it runs in another process, which may die alone."""

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from steps.contracts.errors import IntegrityError, MissingDependencyError
from steps.engines.exports.folder_format import Asked
from steps.engines.exports.gguf.llama_process import LlamaProcess, LlamaSettings

# Chosen: seconds for one answer of a large model on a CPU.
_PATIENCE = 1800
_FINE = 200
# So large that whatever the model thinks of a token, it is said.
_FORCED = 10_000.0


class LlamaRuntime:
    """llama.cpp's server in a process of its own."""

    def __init__(self, process: LlamaProcess) -> None:
        found = urlsplit(process.address)
        self._connection = http.client.HTTPConnection(found.hostname or "", found.port, timeout=_PATIENCE)
        self._process = process

    def prompt_ids(self, asked: Asked) -> list[int]:
        """Rendered by llama.cpp's own Jinja from the file's template; with what the tokenizer adds.

        Its chat leaves out a BOS of the template where the tokenizer adds one. It must take as many tokens as that,
        unless it can't read what the model says then and tells nothing.
        """
        if isinstance(asked, str):
            return self._tokens(asked, special=True)
        messages = [dict(m) for m in asked]
        ids = self._tokens(str(self._ask("/apply-template", {"messages": messages})["prompt"]), special=True)
        chat = {"messages": messages, "max_tokens": 1, "temperature": 0}
        status, reply = self._post("/v1/chat/completions", chat)
        taken = int(json.loads(reply)["usage"]["prompt_tokens"]) if status == _FINE else len(ids)
        if taken != len(ids):
            what = (
                f"llama.cpp's chat takes {taken} tokens of a prompt that its template and tokenizer make {len(ids)} of"
            )
            raise IntegrityError(what, hint="nothing was written")
        return ids

    def token_ids(self, text: str) -> list[int]:
        """No special token is added."""
        return self._tokens(text, special=False)

    def next_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Greedily as long as it says the answer's own tokens, then on from behind each that it says otherwise."""
        said: list[int] = []
        while len(said) < len(answer):
            told = [*prompt, *answer[: len(said)]]
            wanted = {"n_predict": len(answer) - len(said), "temperature": 0, "return_tokens": True}
            found = self._ask("/completion", {"prompt": told, "cache_prompt": False, **wanted})["tokens"]
            if not found:
                raise IntegrityError("llama.cpp says nothing behind a prompt", where=self._process.last_words()[:200])
            for one in found:
                said.append(int(one))
                if said[-1] != answer[len(said) - 1]:
                    break
        return said

    def generate(self, prompt: Sequence[int], room: int) -> list[int]:
        """By llama.cpp's own loop."""
        wanted = {"n_predict": room, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        return [int(i) for i in self._ask("/completion", {"prompt": list(prompt), **wanted})["tokens"]]

    def adds_bos(self) -> bool:
        """Whether a prompt gets a token before its own."""
        return bool(self._tokens("", special=True))

    def ends_with(self, token: int) -> bool:
        """Whether llama.cpp stops when this token is forced."""
        forced = {"n_predict": 2, "temperature": 0, "logit_bias": [[token, _FORCED]]}
        return bool(self._ask("/completion", {"prompt": [token], **forced})["stop_type"] == "eos")

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        asked = {"content": text, "add_special": special, "parse_special": True}
        return [int(i) for i in self._ask("/tokenize", asked)["tokens"]]

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        status, text = self._post(path, body)
        if status != _FINE:
            raise IntegrityError(f"llama.cpp refuses {path}: {text.decode(errors='replace')[:300]}")
        found: dict[str, Any] = json.loads(text)
        return found

    def _post(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._process.key}"}
            self._connection.request("POST", path, json.dumps(body), headers)
            reply = self._connection.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException) as e:
            raise IntegrityError("llama.cpp died over this file", where=self._process.last_words()[:200]) from e


@contextmanager
def llama_runtime(file: Path, context: int, scratch: Path) -> Iterator[LlamaRuntime]:
    """llama.cpp over a file, on one CPU thread.

    Raises:
        MissingDependencyError: it isn't installed. IntegrityError: it can't load the file.
    """
    require_llama()
    process = LlamaProcess(file, LlamaSettings(context), scratch / "llama.log")
    try:
        yield LlamaRuntime(process)
    finally:
        process.stop()


def require_llama() -> None:
    """Raises MissingDependencyError where llama.cpp, or what reads its files, isn't installed."""
    from importlib.util import find_spec

    missing = [name for name in ("xllamacpp", "gguf", "sentencepiece") if find_spec(name) is None]
    if missing:
        what = f"GGUF files are converted and checked with {', '.join(missing)}, which isn't installed"
        raise MissingDependencyError(what, hint="pip install 'assay[gguf]'")
