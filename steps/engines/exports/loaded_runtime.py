"""An exported folder in transformers, loaded as anybody loads it: nothing of ours is in between."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steps.engines.exports.folder_format import Asked
from steps.engines.lm.decoding import without_own_decoding
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.memory import release


class LoadedRuntime:
    """A model and its tokenizer in transformers."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends])

    def prompt_ids(self, asked: Asked) -> list[int]:
        """By the tokenizer's own template."""
        if isinstance(asked, str):
            return list(self._tokenizer(asked)["input_ids"])
        found = self._tokenizer.apply_chat_template(
            [dict(m) for m in asked], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return [int(i) for i in found]

    def token_ids(self, text: str) -> list[int]:
        """No special token is added."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def next_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """One pass over prompt and answer."""
        import torch

        ids = torch.tensor([[*prompt, *answer]], device=self._model.device)
        with without_gradients(self._model):
            logits = self._model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        found: list[int] = logits.argmax(-1).tolist()
        return found

    def generate(self, prompt: Sequence[int], room: int) -> list[int]:
        """By transformers, with nothing of the generation config but what ends an answer."""
        import torch
        from transformers import GenerationConfig

        ends = sorted(self._ends)
        config = GenerationConfig(max_new_tokens=room, do_sample=False, eos_token_id=ends, pad_token_id=ends[0])
        ids = torch.tensor([list(prompt)], device=self._model.device)
        with without_gradients(self._model), without_own_decoding(self._model):
            out = self._model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        found: list[int] = out[0, len(prompt) :].tolist()
        return found

    def ends_with(self, token: int) -> bool:
        """As its generation config says."""
        return token in self._ends


@contextmanager
def loaded_runtime(weights: Path, folder: Path, *, dtype: str, device: str = "auto") -> Iterator[LoadedRuntime]:
    """What lies in `folder`: full weights where it is `weights` itself, else an adapter over those."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from steps.engines.lm.device import resolve_device

    where = resolve_device(device, str(folder))
    model = AutoModelForCausalLM.from_pretrained(
        str(weights), dtype=getattr(torch, dtype), local_files_only=True, trust_remote_code=False
    )
    if folder != weights:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
        # Beside an adapter nobody looks for it but those who are told to.
        model.generation_config = GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    try:
        yield LoadedRuntime(model.to(where).eval(), tokenizer)
    finally:
        del model
        release()
