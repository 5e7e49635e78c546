"""The exported model as MLflow loads and serves it: this file is stored beside the adapter and needs nothing else.

It repeats, in few lines, what evaluation does (template, left padding, greedy decoding, end tokens, merge of a
float32 adapter), because it must run where the project isn't installed; a test holds the two together answer by
answer. Every file is checked against its recorded SHA-256 before it is read. No pickle, no code from a model folder.

Settings that may be given when loading (`mlflow.pyfunc.load_model(uri, model_config={...})`): `base_location`, when
the base's files have moved; `device`; `batch_size`; `batch_tokens`; `num_threads`.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Chat messages (or a plain prompt, taken as one user message) in, the assistant's text out; of a reward model a
    number, of conversations that end with an answer.
    """

    def load_context(self, context: Any) -> None:
        """Find the base, verify every file, load, attach the adapter.

        Raises:
            RuntimeError: a file of the base or of the model is not the recorded one.
            FileNotFoundError: the base isn't where it was; pass `base_location`.
        """
        import torch
        from transformers import GenerationConfig

        self.settings = {**json.loads(Path(context.artifacts["settings"]).read_text()), **context.model_config}
        model = Path(context.artifacts["model"])
        _verify(model, self.settings["model_files"])
        torch.set_num_threads(int(self.settings["num_threads"]))
        self.device = _device(str(self.settings["device"]))
        # Holds the base when it comes from a URL; removed with this object, because weights may stay memory-mapped.
        self.fetched = tempfile.TemporaryDirectory(prefix="served-base-", ignore_cleanup_errors=True)
        self.model, self.tokenizer = _load(model, self.settings, self.device, Path(self.fetched.name))
        if self.settings.get("scores"):
            return
        # Nothing of it is filled in beside what was evaluated: no penalty, no forbidden token.
        self.model.generation_config = GenerationConfig()
        self.ends = self.settings["stop_token_ids"]

    def predict(
        self, context: Any, model_input: "pd.DataFrame", params: dict[str, Any] | None = None
    ) -> list[str] | list[float]:
        """One greedy answer per row, in order; of a reward model the reward of each row's last message.

        Args:
            model_input: column `messages` (list of {role, content, ...}, tool_calls as JSON text) or column `prompt`
                (text); optional column `tools` (JSON text of an OpenAI tools list).
            params: `max_new_tokens`, tokens per answer.
        """
        if self.settings.get("scores"):
            return self._scores(model_input.to_dict(orient="records"))
        limit = int((params or {}).get("max_new_tokens") or self.settings["max_new_tokens"])
        prompts = [self._render(row) for row in model_input.to_dict(orient="records")]
        ids = [self.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
        order = sorted(range(len(prompts)), key=lambda i: (len(ids[i]), prompts[i]))
        answers = [""] * len(prompts)
        for batch in self._batches(order, [len(one) + limit for one in ids]):
            for i, raw in zip(batch, self._answer([ids[i] for i in batch], limit), strict=True):
                answers[i] = _final(prompts[i], raw, self.settings["markers"])
        return answers

    def _batches(self, order: list[int], lengths: list[int]) -> Iterator[list[int]]:
        """Prompts by length, as many as are answered together."""
        rows, tokens = int(self.settings["batch_size"]), int(self.settings["batch_tokens"])
        batch: list[int] = []
        for i in order:
            if batch and (len(batch) == rows or (len(batch) + 1) * lengths[i] > tokens):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _scores(self, rows: list[Any]) -> list[float]:
        """Of conversations that end with an answer, up to the token that ends it."""
        import torch

        texts = [self._render(row, prompt=False).rstrip() for row in rows]
        ids = [self.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), texts[i]))
        pad = self.model.config.get_text_config().pad_token_id
        found = [0.0] * len(ids)
        for batch in self._batches(order, [len(one) for one in ids]):
            width = max(len(ids[i]) for i in batch)
            with torch.inference_mode():
                said = self.model(
                    input_ids=torch.tensor([ids[i] + [pad] * (width - len(ids[i])) for i in batch], device=self.device),
                    attention_mask=torch.tensor(
                        [[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in batch], device=self.device
                    ),
                    use_cache=False,
                ).logits[:, 0]
            for i, score in zip(batch, said.float().tolist(), strict=True):
                found[i] = score
        return found

    def _render(self, row: Any, *, prompt: bool = True) -> str:
        messages, asked, tools = row.get("messages"), row.get("prompt"), row.get("tools")
        if messages is None or isinstance(messages, float):
            if not isinstance(asked, str):
                raise ValueError("each row needs `messages` (a list of {role, content}) or `prompt` (text)")
            messages = [{"role": "user", "content": asked}]
        return str(
            self.tokenizer.apply_chat_template(
                [_message(m, self.settings["dialect"], self.settings["thinking"]) for m in messages],
                tools=_tools(tools) if isinstance(tools, str) else None,
                tokenize=False,
                add_generation_prompt=prompt,
            )
        )

    def _answer(self, batch: list[list[int]], limit: int) -> list[str]:
        import torch
        from transformers import GenerationConfig

        pad = self.tokenizer.pad_token_id
        pad = self.ends[0] if pad is None else pad
        width = max(1, *(len(row) for row in batch)) if batch else 1
        config = GenerationConfig(
            **self.settings["generation"], max_new_tokens=limit, pad_token_id=pad, eos_token_id=self.ends
        )
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=torch.tensor([[pad] * (width - len(r)) + r for r in batch], device=self.device),
                attention_mask=torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in batch], device=self.device),
                generation_config=config,
            )
        return self.tokenizer.batch_decode([_until(row, self.ends) for row in out[:, width:].tolist()])  # type: ignore[no-any-return]


def _load(folder: Path, settings: dict[str, Any], device: str, scratch: Path) -> tuple[Any, Any]:
    """Model in eval mode and tokenizer, as evaluation loads them."""
    import torch
    from transformers import AutoModelForCausalLM

    adapter = settings["kind"] == "adapter"
    if settings["scores"] and not adapter:
        return _scorer(folder, settings).to(device).eval(), _tokenizer(folder, folder)
    base = _base(settings, scratch) if adapter else folder
    dtype = getattr(torch, settings["dtype"])
    safe = {"trust_remote_code": False, "local_files_only": True}
    # Adapters of earlier phases are merged first, in float32, as training saw them.
    earlier = sorted((folder / "earlier").glob("[0-9]*"), key=lambda p: int(p.name)) if adapter else []
    loaded_as = torch.float32 if earlier else dtype
    model = AutoModelForCausalLM.from_pretrained(
        str(base), dtype=loaded_as, use_safetensors=True, **safe, **_unpacking(base)
    )
    if adapter:
        from peft import PeftModel

        for merged in earlier:
            model = PeftModel.from_pretrained(model, str(merged), local_files_only=True).merge_and_unload(
                safe_merge=True
            )
        for weight in model.parameters():
            weight.data = weight.data.to(dtype)
        if settings["scores"]:
            model = _with_head(model, settings["pad_token_id"])
        model = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
        if dtype == torch.float32 and not settings["scores"]:
            model = model.merge_and_unload(safe_merge=True)
    return model.to(device).eval(), _tokenizer(folder, base)


def _tokenizer(folder: Path, base: Path) -> Any:
    from transformers import AutoTokenizer

    own = (folder / "tokenizer_config.json").is_file()
    return AutoTokenizer.from_pretrained(str(folder if own else base), trust_remote_code=False, local_files_only=True)


def _scorer(folder: Path, settings: dict[str, Any]) -> Any:
    """Full weights with one output."""
    import torch
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        str(folder), dtype=getattr(torch, settings["dtype"]), use_safetensors=True, trust_remote_code=False,
        local_files_only=True,
    )  # fmt: skip


def _with_head(model: Any, pad: int) -> Any:
    """The layers of a causal model below a head with one output, whose weights the adapter brings."""
    import copy

    import torch
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.get_text_config().pad_token_id = pad
    with torch.device("meta"):
        scorer = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    setattr(scorer, scorer.base_model_prefix, getattr(model, scorer.base_model_prefix))
    scorer.score = torch.nn.Linear(config.get_text_config().hidden_size, 1, bias=False, dtype=model.dtype)
    return scorer


def _unpacking(base: Path) -> dict[str, Any]:
    """Arguments with which packed weights (gpt-oss) are loaded as numbers of their own, whatever kernels there are."""
    from transformers import Mxfp4Config

    packed = json.loads((base / "config.json").read_text("utf-8")).get("quantization_config")
    return {"quantization_config": Mxfp4Config(dequantize=True)} if packed else {}


def _base(settings: dict[str, Any], scratch: Path) -> Path:
    """The folder of the base's files, verified; a hub model is downloaded at its pinned commit."""
    # Weights that a phase of training made lie in the artifact store, wherever the base at their start came from.
    if settings["base_source"] == "hub" and not settings["base_files"]:
        from huggingface_hub import snapshot_download

        wanted = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt"]
        unwanted = ["original/*", "onnx/*", "*.py"]
        path = Path(
            snapshot_download(
                settings["base_name"],
                revision=settings["base_revision"],
                allow_patterns=wanted,
                ignore_patterns=unwanted,
            )
        )
    else:
        path = _fetched(str(settings["base_location"]), scratch)
    if settings["base_files"]:
        _verify(path, settings["base_files"])
    elif settings["base_digest"] and _digest(_digests(path)) != settings["base_digest"]:
        raise RuntimeError(f"{path}: these are not the base's files that the model was trained over")
    return path


def _fetched(location: str, scratch: Path) -> Path:
    """A folder as it is, or a copy of one behind a URL (s3://, gs://, az:// ..., credentials from the environment)."""
    if "://" in location:
        import fsspec

        fs, path = fsspec.core.url_to_fs(location)
        fs.get(path.rstrip("/") + "/", f"{scratch}/", recursive=True)
        return scratch
    path = Path(location)
    if not path.is_dir():
        raise FileNotFoundError(
            f"{location}: the base model's files are not here; load with"
            " mlflow.pyfunc.load_model(uri, model_config={'base_location': FOLDER_OR_URL})"
        )
    return path


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 per file, hidden and pickle files left out, as the project digests model folders."""
    pickled = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"}
    found = [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix not in pickled and not any(x.startswith(".") for x in p.relative_to(folder).parts)
    ]
    return {p.relative_to(folder).as_posix(): _sha256(p) for p in found}


def _digest(files: dict[str, str]) -> str:
    text = json.dumps(files, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _verify(folder: Path, expected: dict[str, str]) -> None:
    """Refuse a folder in which a recorded file is missing or changed, or an unrecorded one would be read."""
    found = _digests(folder)
    wrong = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
    if wrong:
        raise RuntimeError(f"{folder}: not the recorded files: {', '.join(wrong)} changed, missing or new")


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _until(row: list[int], ends: list[int]) -> list[int]:
    return row[: next((i for i, token in enumerate(row) if token in ends), len(row))]


def _tools(text: str) -> Any:
    """Tools with the keys of every object in the order that rows of a dataset have them: alphabetical."""
    return json.loads(json.dumps(json.loads(text), sort_keys=True))


def _message(given: Any, dialect: dict[str, bool], thinking: str) -> dict[str, Any]:
    """A message as the chat template wants it: no empty fields, tool calls as objects or text, reasoning in the field
    or the tags that it was trained in.
    """
    found = {k: v for k, v in dict(given).items() if v is not None}
    reasoning = found.pop("reasoning_content", None)
    if reasoning and thinking == "on" and not dialect["writes_reasoning"]:
        found["content"] = f"<think>\n{reasoning}\n</think>\n\n{found.get('content') or ''}"
    elif reasoning and thinking != "off":
        found |= {"reasoning_content": reasoning, "thinking": reasoning}
    if isinstance(found.get("tool_calls"), str):
        found["tool_calls"] = json.loads(found["tool_calls"])
    if dialect["short_ids"] and found.get("tool_call_id"):
        found["tool_call_id"] = _short(found["tool_call_id"])
    if not found.get("tool_calls"):
        found.pop("tool_calls", None)
        return {"content": "", **found}
    found["tool_calls"] = [_call(call, dialect) for call in found["tool_calls"]]
    found["content"] = "" if dialect["text_breaks_calls"] else str(found.get("content") or "")
    return found


def _call(call: dict[str, Any], dialect: dict[str, bool]) -> dict[str, Any]:
    if dialect["short_ids"] and call.get("id"):
        call = {**call, "id": _short(call["id"])}
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    if dialect["arguments_as_text"]:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return {"type": "function", **call, "function": {**function, "arguments": text}}
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:  # broken arguments reach the template as they are
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _short(identity: str) -> str:
    """An id of nine letters and digits, as some templates want them."""
    fits = len(identity) == 9 and identity.isascii() and identity.isalnum()
    return identity if fits else hashlib.sha256(identity.encode()).hexdigest()[:9]


def _final(prompt: str, raw: str, markers: dict[str, Any]) -> str:
    """The final text of an answer, without its reasoning and special tokens; "" where the reasoning never ended."""

    def plain(text: str) -> str:
        for token in markers["special"]:
            text = text.replace(token, "")
        return text.strip()

    if markers["channels"] and "<|channel|>" in raw:
        final = "<|channel|>final<|message|>"
        call = re.search(r"to=\S+?<\|channel\|>|<\|channel\|>commentary", raw)
        if final in raw:
            return plain(raw.rpartition(final)[2])
        return plain(raw[call.start() :]) if call else ""
    for opens, closes in markers["tags"]:
        begun = prompt.rstrip().endswith(opens)
        head, found, rest = raw.partition(opens)
        if begun or (found and not plain(head)):
            return plain((raw if begun else rest).partition(closes)[2])
    return plain(raw)


mlflow.models.set_model(ServedModel())
