"""What another tool's own loading code makes of files: `loaders.py TOOL JOBS`, one JSON line per file.

Each row comes out as what it would be trained on: spans of text, each with whether it is trained (a chat template of
the plainest kind shows what a tool keeps of calls and reasoning), or as a preference or a labelled answer. Only the
code that reads and converts rows is run, with the settings that the tool's documentation gives for the shape.
"""

import contextlib
import importlib.machinery
import io
import json
import logging
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]

TEMPLATE = (
    "{%- if tools %}<|tools|>{{ tools | tojson }}<|end|>{%- endif %}"
    "{%- for m in messages %}<|{{ m.role }}|>"
    "{%- if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{%- endif %}"
    "{{ m.content if m.content is not none else '' }}"
    "{%- if m.tool_calls %}{%- for c in m.tool_calls %}<call>{{ c.function | tojson }}</call>{%- endfor %}{%- endif %}"
    "<|end|>{%- endfor %}"
)
_MARKS = re.compile(r"<\|[a-z_]+\|>")


def tokenizer() -> Any:
    """One token per byte, with the chat template above."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<|bos|>", eos_token="<|end|>", pad_token="<|pad|>")
    made.chat_template = TEMPLATE
    return made


# --- TRL: datasets.load_dataset, then what its trainers do with the columns ---


def by_trl(job: Row) -> list[Row]:
    from datasets import load_dataset

    path = Path(job["path"])
    kind = {".csv": "csv", ".parquet": "parquet"}.get(path.suffix, "json")
    if path.is_dir():
        data = load_dataset(str(path), split="train")
    else:
        data = load_dataset(kind, data_files=str(path), split="train")
    return [_trl_row(job["shape"], {k: v for k, v in row.items() if v is not None}) for row in data]


def _trl_row(shape: str, row: Row) -> Row:
    from trl.data_utils import is_conversational, maybe_convert_to_chatml, maybe_extract_prompt

    if shape == "kto":
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        return {"spans": spans_of(turns), "label": row["label"]}
    if shape in ("dpo_conversations", "ranked"):
        found = maybe_extract_prompt(row)
        return {"spans": [[found["prompt"], False]], "chosen": found["chosen"], "rejected": found["rejected"]}
    if shape == "pairs":
        # Its trainer tokenizes prompt + completion.
        return {"spans": [[row["prompt"] + "", False], [row["completion"] + "", True]]}
    found = maybe_convert_to_chatml(row)
    if not is_conversational(found):
        raise ValueError(f"no messages, prompt or text among the columns {sorted(found)}")
    return {"spans": spans_of(found["messages"], found.get("tools"))}


def spans_of(messages: list[Row], tools: Any = None) -> list[list[Any]]:
    """The turns through the template, assistant turns as trained (TRL's `assistant_only_loss`)."""
    made = tokenizer()
    out, before = [], ""
    for number, message in enumerate(messages, 1):
        text = made.apply_chat_template(messages[:number], tools=tools, tokenize=False)
        out.append([text[len(before) :], message["role"] == "assistant"])
        before = text
    return out


# --- axolotl: its loader, its prompt strategies, its labels ---


def by_axolotl(job: Row) -> list[Row]:
    from axolotl.utils.data.shared import load_dataset_with_config
    from axolotl.utils.data.wrappers import get_dataset_wrapper
    from axolotl.utils.dict import DictDefault

    shapes: dict[str, Row] = {
        "messages": {"type": "chat_template", "field_messages": "messages"},
        "conversations": {
            "type": "chat_template", "field_messages": "conversations",
            "message_property_mappings": {"role": "from", "content": "value"},
        },
        "alpaca": {"type": "alpaca"},
        "pairs": {"type": {"field_instruction": "prompt", "field_output": "completion", "format": "{instruction}\n"}},
        "dpo_conversations": {
            "type": "chat_template.default", "field_messages": "conversations", "field_chosen": "chosen",
            "field_rejected": "rejected", "message_property_mappings": {"role": "from", "content": "value"},
            "roles": {"user": ["human", "user"], "assistant": ["gpt", "assistant"], "system": ["system"]},
        },
        "kto": {"type": "user_defined.default", "field_prompt": "prompt", "field_completion": "completion",
                "field_label": "label"},
    }  # fmt: skip
    if job["shape"] not in shapes:
        raise ValueError("no strategy for this shape")
    made = tokenizer()
    entry = DictDefault({"path": job["path"], "split": "train", **shapes[job["shape"]], **job["settings"]})
    if Path(job["path"]).suffix in (".json", ".jsonl"):
        entry["ds_type"] = "json"
    cfg = DictDefault({
        "datasets": [entry], "chat_template": "tokenizer_default", "sequence_len": 1 << 14, "train_on_inputs": False,
    })  # fmt: skip
    data = load_dataset_with_config(entry, False)
    if job["shape"] in ("dpo_conversations", "kto"):
        return _axolotl_preferences(job, data, cfg)
    base = entry["type"] if isinstance(entry["type"], str) else None
    wrapped, _ = get_dataset_wrapper(entry, made, cfg, base, data, None)
    return [{"spans": _masked(made, row["input_ids"], row["labels"])} for row in wrapped]


def _axolotl_preferences(job: Row, data: Any, cfg: Any) -> list[Row]:
    if job["shape"] == "kto":
        # The transform renames; prompts and labels are TRL's.
        return [{"spans": [[row["prompt"], False], [row["completion"], True]], "label": row["label"]} for row in data]
    from axolotl.prompt_strategies.dpo import load

    loaded = load("chat_template.default", cfg, dataset_idx=0)
    transform = loaded[0] if isinstance(loaded, tuple) else loaded
    out = []
    for row in data:
        got = transform(row, tokenizer=tokenizer())
        out.append({"spans": [[got["prompt"], False]], "chosen": got["chosen"], "rejected": got["rejected"]})
    return out


def _masked(made: Any, ids: list[int], labels: list[int]) -> list[list[Any]]:
    out: list[list[Any]] = []
    for token, label in zip(ids, labels, strict=True):
        trained = label != -100
        if not out or out[-1][1] != trained:
            out.append([[], trained])
        out[-1][0].append(token)
    return [[made.decode(tokens), trained] for tokens, trained in out]


# --- LLaMA-Factory: its loader and converters ---


def by_llamafactory(job: Row) -> list[Row]:
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import DatasetAttr

    chat = {
        "formatting": "sharegpt", "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
                 "observation_tag": "tool", "function_tag": "function_call", "system_tag": "system"},
    }  # fmt: skip
    if "tool" in job["file"] or "null" in job["file"]:
        chat["formatting"] = "openai"
        chat["columns"] = {"messages": "messages", "tools": "tools"}
    shapes: dict[str, Row] = {
        "messages": chat,
        "conversations": {"formatting": "sharegpt", "columns": {"messages": "conversations"}},
        "alpaca": {"formatting": "alpaca"},
        "pairs": {"formatting": "alpaca", "columns": {"prompt": "prompt", "response": "completion"}},
        "kto": {"formatting": "alpaca",
                "columns": {"prompt": "prompt", "response": "completion", "kto_tag": "label"}},
        "dpo_conversations": {
            "formatting": "sharegpt", "ranking": True,
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        },
    }  # fmt: skip
    if job["shape"] not in shapes:
        raise ValueError("no format for this shape")
    path = Path(job["path"])
    attr = DatasetAttr("file", dataset_name=path.name)
    attr.join(shapes[job["shape"]])
    if path.is_dir() and (path / "dataset_info.json").exists():
        # Its own kind of folder: the description names the file.
        attr.dataset_name = str(path / json.loads((path / "dataset_info.json").read_text())["trains"]["file_name"])
    none = types.SimpleNamespace
    data = _load_single_dataset(
        attr,
        none(cache_dir=None, hf_hub_token=None),
        none(dataset_dir=str(path.parent), streaming=False, preprocessing_num_workers=None, max_samples=None,
             overwrite_cache=True, media_dir=str(path.parent)),
        none(local_process_index=0, dataloader_num_workers=0),
    )  # fmt: skip
    return [_aligned(job, row) for row in data if row["_prompt"]]


def _aligned(job: Row, row: Row) -> Row:
    turns = [[m["content"], m["role"] in ("assistant", "function")] for m in row["_prompt"]]
    answers = [m["content"] for m in row["_response"]]
    if job["shape"] == "kto":
        return {"spans": [*turns, [answers[0] or answers[1], True]], "label": bool(answers[0])}
    if job["shape"] == "dpo_conversations":
        return {"spans": turns, "chosen": answers[0], "rejected": answers[1]}
    return {"spans": [*turns, [answers[0] if answers else "", True]]}


TOOLS: dict[str, Callable[[Row], list[Row]]] = {
    "trl": by_trl, "axolotl": by_axolotl, "llamafactory": by_llamafactory,
}  # fmt: skip


def main() -> None:
    _without_torchaudio()
    tool, jobs = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    # One for all: a tool's logger keeps the stream that it found first.
    said = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(said))
    for job in jobs:
        answer: Row = {"file": job["file"]}
        start = said.tell()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                answer["rows"] = TOOLS[tool](job)
            except Exception as e:  # noqa: BLE001 whatever it raises is its answer
                answer["error"] = _root(e)
        answer["skipped"] = said.getvalue()[start:].count("Skipping this")
        sys.__stdout__.write(json.dumps(answer) + "\n")


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _without_torchaudio() -> None:
    """LLaMA-Factory imports torchaudio for sound, which rows of text don't need."""
    try:
        import torchaudio  # noqa: F401
    except ImportError:
        module = types.ModuleType("torchaudio")
        module.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = module


if __name__ == "__main__":
    main()
