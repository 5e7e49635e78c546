"""Adapters that begin with a part of the weights (PiSSA, OLoRA), or of what quantizing them lost (LoftQ), saved so that
they fit the weights as they were.

Training starts from W = R + s B0 A0 and ends with R + s B A. Over W that is the update s (B A - B0 A0), an adapter of
twice the rank: A over A0, B beside -B0. Of LoftQ R is what is held in 4 bits, and R + s B0 A0 only nearly W.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def initial_updates(model: Any) -> dict[str, Any]:
    """Copies of an untrained adapter's matrices, by the names that peft saves them under."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model)
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items() if _axis(name) is not None}


def save_over_start(folder: Path, initial: Mapping[str, Any]) -> None:
    """Rewrite an adapter that peft saved as one over the weights before it took its part of them."""
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    state = load_file(str(file))
    for name, tensor in state.items():
        axis = _axis(name)
        if axis is not None:
            taken = initial[name].to(tensor.dtype)
            state[name] = torch.cat([tensor, taken if axis == 0 else -taken], dim=axis).contiguous()
    save_file(state, str(file), metadata={"format": "pt"})
    described = folder / "adapter_config.json"
    described.write_text(json.dumps(_doubled(json.loads(described.read_text())), indent=2, sort_keys=True) + "\n")


def _axis(name: str) -> int | None:
    """Along which a matrix of an adapter has the rank; None: not one of them."""
    return 0 if ".lora_A." in name else 1 if ".lora_B." in name else None


def _doubled(config: dict[str, Any]) -> dict[str, Any]:
    """An adapter's configuration at twice the rank, its update scaled as before (by alpha / r, or alpha / sqrt(r))."""
    alpha = 2**0.5 if config["use_rslora"] else 2
    return config | {
        "init_lora_weights": True,
        "r": 2 * config["r"],
        "lora_alpha": alpha * config["lora_alpha"],
        "rank_pattern": {name: 2 * r for name, r in config["rank_pattern"].items()},
        "alpha_pattern": {name: alpha * a for name, a in config["alpha_pattern"].items()},
    }
