"""8 bits on the CPU: a GGUF export in q8_0 by llama.cpp, beside torch's dynamic quantization of the linear layers.

The Llama of `bench_serving` (20.6 million random weights). Of each: megabytes, greedy tokens per CPU second of one
thread for one answer at a time and for eight at once, and by the check of exports (its prompts, answers of 48 tokens)
how many tokens differ from float32, the widest with so many logits between the model's own two best.

Needs `ASSAY_LLAMA_CPP`, llama.cpp's converter (`make llama-cpp`). Wanted: q8_0 is as small as torch's 8 bits, as fast
for one answer at a time, and differs in no more tokens; otherwise `assay export` had better offer those.
"""

import argparse
import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from bench_serving import LLAMA_CPP, WORDS, Load, alone_in_llama, export, make
from measure import finish, own_cpu

# What is deprecated in torch says so at every use.
warnings.filterwarnings("ignore")
TOKENS, PROMPTS, ROOM = 32, 16, 48


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    if not os.environ.get(LLAMA_CPP):
        print(f"SKIPPED int8: {LLAMA_CPP} names no converter (make llama-cpp)")
        finish("int8", {"skipped": True}, {})
    import torch

    from steps.engines.exports.folder_format import Options, Source
    from steps.engines.exports.formats import FORMATS
    from steps.engines.exports.loaded_runtime import LoadedRuntime
    from steps.engines.exports.parity import reference_of
    from steps.engines.exports.probes import prompts, texts
    from steps.engines.lm.references import local_reference

    torch.set_num_threads(1)
    asked = [" ".join(WORDS[n % 5 : 5 + n % 11]) + f" {n}" for n in range(PROMPTS)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make(place / "model")
        source = Source(local_reference(place / "model"), None)
        reference = reference_of(source, prompts(), texts()[:50], max_new_tokens=ROOM)
        figures: dict[str, Any] = {}
        for name in ("float32", "bfloat16", "torch_int8"):
            model, tokenizer = loaded(place / "model", name)
            rates = [by_torch(model, tokenizer, asked, batch) for batch in (1, 8)]
            figures |= told(name, stored(model), rates, reference, LoadedRuntime(model, tokenizer))
        file = export(place / "model", place, "q8_0")
        rates = [alone_in_llama(file, place, asked, argparse.Namespace(clients=n, tokens=TOKENS)) for n in (1, 8)]
        with FORMATS["gguf"].opened(source, file.parent, Options("q8_0", context=1024), place) as runtime:
            figures |= told("q8_0", file.stat().st_size, rates, reference, runtime)
    smaller = {key: figures[f"q8_0_{key}"] <= figures[f"torch_int8_{key}"] for key in ("mb", "differ")}
    rate = "alone_tokens_per_cpu_s"
    finish("int8", figures, {**smaller, rate: figures[f"q8_0_{rate}"] >= figures[f"torch_int8_{rate}"]})


def loaded(folder: Path, name: str) -> tuple[Any, Any]:
    """The model in a number format, and its tokenizer."""
    import torch
    from torch.ao.quantization import quantize_dynamic
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    if name == "bfloat16":
        model = model.to(torch.bfloat16)
    if name == "torch_int8":
        # The head is tied to the embeddings.
        layers = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}
        model = quantize_dynamic(model, layers)
    return model, AutoTokenizer.from_pretrained(folder, padding_side="left")


def stored(model: Any) -> int:
    """Bytes of its weights."""
    import torch

    written = io.BytesIO()
    torch.save(model.state_dict(), written)
    return written.tell()


def by_torch(model: Any, tokenizer: Any, prompts: list[str], batch: int) -> Load:
    """All prompts by `generate`, so many at once."""
    import torch

    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True)
        for p in prompts
    ]
    tokens, before = 0, own_cpu()
    for at in range(0, len(texts), batch):
        given = tokenizer(texts[at : at + batch], return_tensors="pt", padding=True, add_special_tokens=False)
        ids, mask = given["input_ids"], given["attention_mask"]
        with torch.inference_mode():
            out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False)
        tokens += len(ids) * (out.shape[1] - ids.shape[1])
    return Load([], tokens, 1.0, own_cpu() - before)


def told(name: str, size: int, rates: list[Load], reference: Any, runtime: Any) -> dict[str, Any]:
    """The figures of one, printed; no token is too far away to be counted."""
    from steps.engines.exports.parity import check_parity

    parity = check_parity(reference, runtime, 1e9, name, 1.0)
    alone, eight = (round(r.tokens / r.cpu_seconds, 1) for r in rates)
    found = {
        "mb": round(size / 1e6, 1), "alone_tokens_per_cpu_s": alone, "eight_tokens_per_cpu_s": eight,
        "differ": parity.differ, "of": parity.tokens, "widest": round(parity.widest, 4),
    }  # fmt: skip
    print(f"{name:12}" + "".join(f"  {key} {value}" for key, value in found.items()), flush=True)
    return {f"{name}_{key}": value for key, value in found.items()}


if __name__ == "__main__":
    main()
