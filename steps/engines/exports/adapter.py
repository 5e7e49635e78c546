"""A PEFT adapter's folder as vLLM, LoRAX and peft take it: the base stays where it is."""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from steps.contracts.errors import ConfigError
from steps.engines.exports.folder_format import Options, Runtime, Source, Written, chosen_dtype, require_writes_text
from steps.engines.exports.loaded_runtime import loaded_runtime
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.load import adapter_path, earlier_adapters, load, weights_path

_PAIR = re.compile(r"base_model\.model\.[\w.]+\.lora_[AB]\.weight")
_VLLM_RANK = 16
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Adapter:
    """The adapter's weights byte by byte, as they were trained."""

    epsilons: Mapping[str, float] = MappingProxyType({"as_trained": 1e-3})

    def write(self, source: Source, folder: Path, options: Options, scratch: Path) -> Written:
        """The weights, their config with the base's name in it, tokenizer, and what ends an answer.

        Raises:
            ConfigError: it is no adapter, or lies over the adapters of earlier phases.
        """
        require_writes_text(source)
        adapter = source.tuned
        if adapter is None or adapter.info.kind != "adapter":
            raise ConfigError("full weights were trained, no adapter", where="--to adapter", hint="--to merged")
        if earlier_adapters(adapter):
            what = "it lies over adapters of earlier phases, which programs that take one adapter wouldn't see"
            raise ConfigError(what, where="--to adapter", hint="--to merged")
        dtype = chosen_dtype(options.dtype, self.epsilons, "as_trained")
        path = adapter_path(adapter)
        shutil.copyfile(path / _WEIGHTS, folder / _WEIGHTS)
        config = json.loads((path / _CONFIG).read_text("utf-8"))
        named = source.base.info.base
        config |= {"base_model_name_or_path": named.name if named.source == "hub" else str(weights_path(source.base)),
                   "revision": named.revision, "inference_mode": True}  # fmt: skip
        (folder / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        loaded = load(source.base, adapter, device="cpu")
        loaded.model.generation_config.eos_token_id = stop_ids(loaded)
        loaded.model.generation_config.save_pretrained(str(folder))
        loaded.tokenizer.save_pretrained(str(folder))
        return Written(
            dtype,
            {"rank": config.get("r"), "base_digest": source.base.info.digest},
            [*notes(config, named.source), *tensor_notes(folder / _WEIGHTS, int(config.get("r") or 0))],
        )

    def opened(self, source: Source, folder: Path, options: Options, scratch: Path) -> AbstractContextManager[Runtime]:
        """By peft over the base, in float32, unmerged."""
        return loaded_runtime(weights_path(source.base), folder, dtype="float32")


def tensor_notes(file: Path, rank: int) -> list[str]:
    """What keeps programs from taking the tensors, by their names and shapes: vLLM and LoRAX read pairs of matrices of
    linear layers, of one rank (vLLM 0.11, `lora_model.py`; 16 at most unless it is told more).
    """
    from safetensors import safe_open

    with safe_open(str(file), "pt") as found:
        shapes = {name: found.get_slice(name).get_shape() for name in found.keys()}  # noqa: SIM118 - no mapping
    other = sorted(name for name in shapes if _PAIR.fullmatch(name) is None)
    pairs = [
        (name, name.replace(".lora_A.", ".lora_B.")) for name in shapes if ".lora_A." in name and name not in other
    ]
    wrong = [a for a, b in pairs if b not in shapes or shapes[a][0] != shapes[b][1] or shapes[a][0] != rank]
    said = []
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        said.append(f"vLLM and LoRAX take no tensor {other[0]}{more}: export --to merged for them")
    if wrong:
        said.append(f"{wrong[0]} has no partner of rank {rank}, which vLLM and LoRAX expect")
    if rank > _VLLM_RANK:
        said.append(f"vLLM takes rank {rank} with --max-lora-rank {rank} or more")
    return said


def adapter_refusals(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Why vLLM doesn't take an adapter's folder; ranks above its default aside, for which it takes a flag."""
    rank = int(config["r"])
    tensors = tensor_notes(folder / _WEIGHTS, rank)
    # The last one of each is of something else.
    return [*(tensors[:-1] if rank > _VLLM_RANK else tensors), *notes(config, "hub")]


def notes(config: Mapping[str, Any], source: str) -> list[str]:
    """What keeps programs from taking the adapter, by their checks of a PEFT config (vLLM 0.11, `peft_helper.py`)."""
    found = []
    if config.get("use_dora"):
        found.append("vLLM takes no DoRA: export --to merged for it")
    if config.get("modules_to_save"):
        found.append(
            f"vLLM takes no modules_to_save ({', '.join(config['modules_to_save'])}): export --to merged for it"
        )
    if config.get("bias", "none") != "none":
        found.append("vLLM takes no biases of an adapter: export --to merged for it")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        found.append("ranks differ by layer: vLLM reads one rank, and would scale these wrongly")
    if source != "hub":
        found.append("the base is named by a folder of this machine: copy its files along, and name them there")
    return found
