"""Rows to tokens and labels: rows per CPU second, from the dataset version to the mapped Arrow file, beside TRL's.

Data: `t0.jsonl.gz`, the T0 sample of the self-instruct repository (Apache-2.0), in the folder that ASSAY_BENCH_DATA
names. A row has four turns of 600 characters of it; no text comes twice. Templates are those of trl's package;
tokenizers are byte-level BPE with the pre-tokenizer of the family and 16,000 tokens, trained on the same text (the
published ones can't be had without a hub). TRL: the preparation of SFTTrainer with `assistant_only_loss`, in one
process, of fewer rows. Both after a first row, so that what is compiled and imported once isn't counted.
"""

import gzip
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measure import data_folder, finish

from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.records import Row, make_row, message
from steps.engines.template.config import TemplateConfig
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.token_cache import Means

ROWS, PEER_ROWS, LETTERS, TURNS, WANTED, RUNS = 8_000, 500, 600, 4, 5_000, 3
CONFIG = TrainConfig.model_validate({"max_length": 4_096})
LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN = LLAMA.replace("{1,3}", "")
CHATML = (
    "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
# As TRL wants it, with what is trained marked.
MARKED = CHATML.replace(
    "{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}",
    "{{- '<|im_start|>' + m['role'] + '\n' }}{%- if m['role'] == 'assistant' %}{%- generation %}"
    "{{- m['content'] + '<|im_end|>' }}{%- endgeneration %}{{- '\n' }}"
    "{%- else %}{{- m['content'] + '<|im_end|>\n' }}{%- endif %}",
)
# Name -> trl's name of the template ("": ChatML), pre-tokenizer, end of a turn, further special tokens.
FAMILIES = {
    "ChatML": ("", None, "<|im_end|>", ["<|im_start|>"]),
    "Qwen 2.5": ("qwen2_5", QWEN, "<|im_end|>", ["<|im_start|>"]),
    "Llama 3.1": ("llama3_1", LLAMA, "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"]),
    "Qwen3": ("qwen3", QWEN, "<|im_end|>", ["<|im_start|>"]),
}


def texts(path: Path) -> Iterator[str]:
    """Pieces of LETTERS characters that begin with a word."""
    rest = ""
    with gzip.open(path, "rt") as file:
        for line in file:
            rest += "\n".join(str(v) for v in json.loads(line).values() if isinstance(v, str)) + "\n"
            while len(rest) > 2 * LETTERS:
                piece, rest = rest[:LETTERS], rest[LETTERS:].lstrip()
                if piece.strip():
                    yield piece


def rows_of(path: Path, count: int) -> list[Row]:
    pieces = texts(path)
    found = []
    for number in range(count):
        turns = [message(("user", "assistant")[n % 2], next(pieces)) for n in range(TURNS)]
        found.append(make_row(kind="conversation", source="t0", locator=str(number), raw=b"", messages=turns))
    return found


def tokenizer_of(family: str, rows: list[Row]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from trl import chat_template_utils

    template, pattern, end, special = FAMILIES[family]
    bpe = Tokenizer(models.BPE())
    bpe.decoder = decoders.ByteLevel()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    trainer = trainers.BpeTrainer(
        vocab_size=16_000, special_tokens=["<|endoftext|>", end, *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator((m["content"] for r in rows for m in r["messages"]), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=end, pad_token="<|endoftext|>")
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = getattr(chat_template_utils, f"{template}_chat_template") if template else CHATML
    return tokenizer


def version(rows: list[Row], folder: Path) -> Dataset:
    writer = DatasetWriter(folder, "ingest")
    writer.write_rows(rows)
    return writer.close()


def ours(tokenizer: Any, rows: Dataset, folder: Path, means: Means | None = None) -> tuple[int, int]:
    """Kept rows and their tokens."""
    objective, path = objective_of(CONFIG.objective), folder / "tokens.arrow"
    _, found = objective.encode(rows, None, tokenizer, TemplateConfig(), CONFIG, path, means=means)
    return found.kept, found.tokens


def of_trl(tokenizer: Any, rows: list[Row], folder: Path) -> None:
    import datasets
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
    said = [{"messages": [{k: m[k] for k in ("role", "content")} for m in r["messages"]]} for r in rows]
    args = SFTConfig(
        output_dir=str(folder), assistant_only_loss=True, max_length=None, use_cpu=True, report_to=[], bf16=False,
    )  # fmt: skip
    datasets.disable_caching()
    data = datasets.Dataset.from_list(said)
    SFTTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least of RUNS runs: other work on the machine makes each dearer, never cheaper."""
    taken = []
    for _ in range(RUNS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def measured(family: str, rows: list[Row], folder: Path) -> dict[str, int | None]:
    tokenizer = tokenizer_of(family, rows[: len(rows) // 2])
    ours(tokenizer, version(rows[:1], folder / "one"), folder)
    data = version(rows, folder / "all")
    done: list[tuple[int, int]] = []
    seconds = cpu_seconds(lambda: done.append(ours(tokenizer, data, folder)))
    assert done[0][0] == len(rows)
    kept = Means(cache=folder / "cache")
    ours(tokenizer, data, folder, kept)
    again = cpu_seconds(lambda: ours(tokenizer, data, folder, kept))
    if tokenizer.chat_template == CHATML:
        tokenizer.chat_template = MARKED
    return {
        "tokens per row": round(done[0][1] / len(rows)),
        "rows per CPU s": round(len(rows) / seconds),
        "again": round(len(rows) / again),
        "TRL's rows per CPU s": trl_speed(tokenizer, rows, folder),
    }


def trl_speed(tokenizer: Any, rows: list[Row], folder: Path) -> int | None:
    """Rows per CPU second; None: TRL knows no marked version of the template."""
    try:
        # What the trainer costs besides its rows is taken off.
        empty = cpu_seconds(lambda: of_trl(tokenizer, rows[:1], folder))
        return round(PEER_ROWS / (cpu_seconds(lambda: of_trl(tokenizer, rows[:PEER_ROWS], folder)) - empty))
    except ValueError as e:
        print(f"TRL: {str(e)[:120]}")
        return None


def main() -> None:
    source = data_folder("encode", "t0.jsonl.gz") / "t0.jsonl.gz"
    rows = rows_of(source, ROWS)
    figures: dict[str, Any] = {}
    print("| template | tokens per row | rows per CPU s | again, from the cache | TRL's |\n|---|---:|---:|---:|---:|")
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as name:
            figures[family] = measured(family, rows, Path(name))
        cells = ("refused" if v is None else f"{v:,}" for v in figures[family].values())
        print(f"| {family} | {' | '.join(cells)} |", flush=True)
    finish("encode", figures, {"fast": all(f["rows per CPU s"] >= WANTED for f in figures.values())})


if __name__ == "__main__":
    main()
