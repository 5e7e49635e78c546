"""A llama of 35 thousand random weights with a byte-level vocabulary, as a GGUF file that llama.cpp can serve.

It knows nothing: what it says is decided by the grammar it is held to, and by two nudges. Every hidden state shares
one large component, and the output rows of `"` and of the chosen digit point that way: strings end at once, and the
score is known.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np

HIDDEN, LAYERS, HEADS, INNER = 32, 2, 4, 64
TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>'+m['role']+'\\n'+m['content']+'<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def write_tiny_gguf(path: Path, favourite_digit: str, **more: float) -> Path:
    """`more`: further nudges, by the character."""
    letters = byte_letters()
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "Ġt"]
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, tokens)
    _weigh(writer, tokens, {'"': 4.0, "}": 3.0, ":": 3.0, ",": 3.0, favourite_digit: 2.0, **more})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    writer.add_context_length(8192)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _weigh(writer: gguf.GGUFWriter, tokens: list[str], nudges: dict[str, float]) -> None:
    random = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.05).astype(np.float32)

    embedding, output = weights(len(tokens), HIDDEN), weights(len(tokens), HIDDEN)
    embedding[:, 0] = 1.0
    for token, nudge in nudges.items():
        output[tokens.index(token), 0] = nudge
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    shapes = {
        "attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN, HIDDEN), "attn_v": (HIDDEN, HIDDEN),
        "attn_output": (HIDDEN, HIDDEN), "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN),
        "ffn_down": (HIDDEN, INNER),
    }  # fmt: skip
    for block in range(LAYERS):
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{block}.{name}.weight", weights(*shape))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(HIDDEN, np.float32))


@contextmanager
def served_gguf(model: Path) -> Iterator[str]:
    """Address (`.../v1`) of llama.cpp's server with this file, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("llama_server.py")), str(model)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    address = process.stdout.readline().strip()
    assert address, "the server didn't start"
    yield f"{address}/v1"
    process.stdin.close()
    process.wait(20)
