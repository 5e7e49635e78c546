"""`assay serve` under load, beside the bare runtime: the same prompts by `model.generate` in left-padded batches.

A Llama of random weights (about 20 million; its answers mean nothing, and end by their room) and the toy base's
tokenizer. `--clients` threads of OpenAI's client ask `--requests` questions for `--tokens` tokens each, whole and as
streams; then the bare runtime answers the same prompts, in as many a batch as there are clients. Reported: seconds
until a whole answer, until a stream's first piece (p50, p95), tokens per second of the clock, and tokens per CPU second
of the server's processes from the first request to the last, which other work on the machine changes less.

Where `ASSAY_LLAMA_CPP` names llama.cpp's converter (`make llama-cpp`), the same of the model's GGUF exports, each
beside llama.cpp's own server, asked by as many clients without ours before it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import psutil
from measure import ROOT, finish, own_cpu

sys.path.insert(0, str(ROOT))
SHAPE = {"hidden_size": 512, "intermediate_size": 1_408, "num_hidden_layers": 6, "num_attention_heads": 8,
         "num_key_value_heads": 8, "max_position_embeddings": 1_024, "tie_word_embeddings": True}  # fmt: skip
WORDS = [
    "order",
    "three",
    "green",
    "lamps",
    "and",
    "a",
    "blue",
    "chair",
    "for",
    "the",
    "office",
    "please",
    "on",
    "Monday",
]
SHARE = 0.95
LLAMA_CPP = "ASSAY_LLAMA_CPP"


@dataclass(frozen=True)
class Load:
    """What a load came to; waits in seconds, one per request."""

    waits: list[float]
    tokens: int
    seconds: float
    cpu_seconds: float

    def told(self, name: str) -> dict[str, float]:
        """The figures, printed."""
        cuts = statistics.quantiles(self.waits, n=20, method="inclusive")
        found = {"p50_s": cuts[9], "p95_s": cuts[18], "tokens_per_s": self.tokens / self.seconds,
                 "tokens_per_cpu_s": self.tokens / self.cpu_seconds}  # fmt: skip
        print(f"{name:14}" + "".join(f"  {key} {value:8.2f}" for key, value in found.items()))
        return {f"{name}_{key}": round(value, 3) for key, value in found.items()}

    def beside(self, bare: "Load") -> float:
        """Tokens per CPU second, as a share of the bare runtime's."""
        return round((self.tokens / self.cpu_seconds) / (bare.tokens / bare.cpu_seconds), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--exports", nargs="*", default=["f16", "q8_0"], help="number formats of GGUF exports")
    wanted = parser.parse_args()
    prompts = [" ".join(WORDS[n % 5 : 5 + n % 11]) + f" {n}" for n in range(wanted.requests)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make(place / "model")
        whole, streams = served(place / "model", place, prompts, wanted)
        bare = alone(place / "model", prompts, wanted.clients, wanted.tokens)
        figures, shares = told("", whole, streams, bare)
        for dtype in wanted.exports if os.environ.get(LLAMA_CPP) else ():
            file = export(place / "model", place, dtype)
            whole, streams = served(file, place, prompts, wanted)
            bare = alone_in_llama(file, place, prompts, wanted)
            more, besides = told(f"{dtype}_", whole, streams, bare)
            figures, shares = {**figures, **more}, {**shares, **besides}
    if not os.environ.get(LLAMA_CPP):
        print(f"no GGUF exports: {LLAMA_CPP} names no converter")
    finish("serving", {**figures, **shares}, {name: share >= SHARE for name, share in shares.items()})


def told(engine: str, whole: Load, streams: Load, bare: Load) -> tuple[dict[str, float], dict[str, float]]:
    """Figures and shares of one engine, printed."""
    figures = {**whole.told(f"{engine}whole"), **streams.told(f"{engine}streams"), **bare.told(f"{engine}bare")}
    shares = {f"{engine}share": whole.beside(bare), f"{engine}streams_share": streams.beside(bare)}
    print("of the bare runtime's tokens per CPU second: " + ", ".join(f"{k} {v:.3f}" for k, v in shares.items()))
    return figures, shares


def served(model: Path, folder: Path, prompts: list[str], wanted: argparse.Namespace) -> tuple[Load, Load]:
    """Whole answers, and streams."""
    with serving(model, folder, wanted.clients) as (process, client):
        ask(client, prompts[0], 4)
        whole = load(process, prompts, wanted.clients, lambda p: ask(client, p, wanted.tokens))
        return whole, load(process, prompts, wanted.clients, lambda p: first_piece(client, p, wanted.tokens))


def make(folder: Path) -> None:
    """A model whose answers don't end before their room: its end token is never the most probable one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from examples.toy_base.build import make_tokenizer
    from examples.toy_base.options import ToyOptions

    tokenizer = make_tokenizer(ToyOptions(), 0)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **SHAPE)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.all_special_ids] = 0
    print(f"{model.num_parameters():,} weights")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def export(model: Path, folder: Path, dtype: str) -> Path:
    """The model's GGUF file."""
    from steps.engines.exports.folder_format import Options, Source
    from steps.engines.exports.formats import FORMATS
    from steps.engines.lm.references import local_reference

    out, scratch = folder / dtype, folder / f"{dtype}-scratch"
    out.mkdir()
    scratch.mkdir()
    FORMATS["gguf"].write(Source(local_reference(model), None), out, Options(dtype), scratch)
    return next(out.glob("*.gguf"))


@contextmanager
def serving(model: Path, folder: Path, clients: int) -> Iterator[tuple[psutil.Process, openai.OpenAI]]:
    """The server as a process, and a client of it."""
    command = [sys.executable, "-m", "ops.main", "serve", str(model), "--as", "m", "--port", "0",
               "--set", f"batch_size={clients}"]  # fmt: skip
    environment = {**os.environ, "ASSAY_STATE": str(folder / "state")}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment) as server:
        line = next((line for line in server.stderr or () if line.startswith("serving ")), "")
        if not line:
            sys.exit("the server doesn't start")
        try:
            url = line.split(" at ")[1].strip()
            yield psutil.Process(server.pid), openai.OpenAI(base_url=url, api_key="-", max_retries=0, timeout=600)
        finally:
            server.terminate()


def ask(client: openai.OpenAI, prompt: str, tokens: int) -> tuple[float, int]:
    """Seconds until the whole answer, and its tokens."""
    start = time.monotonic()
    messages: Any = [{"role": "user", "content": prompt}]
    done = client.chat.completions.create(model="m", messages=messages, max_tokens=tokens)
    assert done.usage is not None
    return time.monotonic() - start, done.usage.completion_tokens


def first_piece(client: openai.OpenAI, prompt: str, tokens: int) -> tuple[float, int]:
    """Seconds until the first piece, and the tokens of the whole."""
    start, first, used = time.monotonic(), 0.0, 0
    messages: Any = [{"role": "user", "content": prompt}]
    stream = client.chat.completions.create(
        model="m", messages=messages, max_tokens=tokens, stream=True, stream_options={"include_usage": True}
    )
    for piece in stream:
        if piece.usage is not None:
            used = piece.usage.completion_tokens
        elif piece.choices[0].delta.content and not first:
            first = time.monotonic() - start
    return first, used


def load(process: psutil.Process, prompts: list[str], clients: int, once: Callable[[str], tuple[float, int]]) -> Load:
    """All prompts by so many clients at once; CPU seconds of the server and of the engine that it has started."""

    def spent() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))

    before, start = spent(), time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(once, prompts))
    seconds, cpu = time.monotonic() - start, spent() - before
    return Load([wait for wait, _ in done], sum(tokens for _, tokens in done), seconds, cpu)


def alone(folder: Path, prompts: list[str], batch: int, room: int) -> Load:
    """The same prompts by transformers, batch by batch, with one thread as the server has."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True)
        for p in prompts
    ]
    waits, tokens = list[float](), 0
    before, start = own_cpu(), time.monotonic()
    for at in range(0, len(texts), batch):
        begun = time.monotonic()
        ids = tokenizer(texts[at : at + batch], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=room, do_sample=False
            )
        said = tokenizer.batch_decode(out[:, ids["input_ids"].shape[1] :])
        waits += [time.monotonic() - begun] * len(said)
        tokens += len(said) * (out.shape[1] - ids["input_ids"].shape[1])
    return Load(waits, tokens, time.monotonic() - start, own_cpu() - before)


class Counted:
    """A listener that counts."""

    tokens = 0

    def hear(self, token: int) -> bool:
        self.tokens += 1
        return False

    def hear_text(self, text: str, tokens: int) -> bool:
        self.tokens += tokens
        return False


def alone_in_llama(file: Path, folder: Path, prompts: list[str], wanted: argparse.Namespace) -> Load:
    """The same prompts by llama.cpp's server without ours before it."""
    from transformers import AutoTokenizer

    from steps.engines.completions.completer import Wanted
    from steps.engines.completions.llama_cpp import LlamaCompleter
    from steps.engines.exports.gguf.llama_process import LlamaProcess, LlamaSettings

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    context = SHAPE["max_position_embeddings"] * wanted.clients
    engine = LlamaProcess(file, LlamaSettings(context, wanted.clients, 1), folder / "llama.log")
    completer = LlamaCompleter(engine.address, engine.key, remembers=True)

    def once(prompt: str) -> tuple[float, int]:
        asked = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        begun, heard = time.monotonic(), Counted()
        completer.complete(Wanted("", ids, wanted.tokens), heard, lambda: False)
        return time.monotonic() - begun, heard.tokens

    try:
        once(prompts[0])
        return load(psutil.Process(engine.pid), prompts, wanted.clients, once)
    finally:
        engine.stop()


if __name__ == "__main__":
    main()
