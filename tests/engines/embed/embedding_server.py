"""Bodies of `/v1/embeddings` answers for ScriptedServer, by a real model or made up."""

import json
from typing import Any

import numpy as np
from engines.llm.scripted_server import Act


def answer(vectors: Any, order: Any = None) -> Act:
    data = [{"object": "embedding", "index": i, "embedding": [float(x) for x in v]} for i, v in enumerate(vectors)]
    data = data if order is None else [data[i] for i in order]
    # json.dumps writes NaN as the bare word NaN, as some servers do.
    return Act(body=json.dumps({"object": "list", "data": data, "model": "m", "usage": {}}))


def made_up(text: str, dimensions: int = 8) -> np.ndarray:
    """A vector that is a function of the text."""
    seed = int.from_bytes(text.encode()[:8].ljust(8, b"\0"), "little")
    return np.random.default_rng(seed).normal(size=dimensions)


def scripted(body: dict[str, Any]) -> Act:
    return answer([made_up(t) for t in body["input"]])
