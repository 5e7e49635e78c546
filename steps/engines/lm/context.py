"""How many tokens a model can look at, by its config.json."""

from collections.abc import Mapping
from typing import Any

# Kinds of rotary scaling by whose factor the positions of config.json grow. Others (llama3, longrope) count it already.
_STRETCHING = ("linear", "dynamic")


def context_length(config: Mapping[str, Any]) -> int | None:
    """Tokens of the longest text that the positions of a model reach, sliding windows of its layers aside.

    Args:
        config: config.json, of which max_position_embeddings, rope_parameters (or rope_scaling) and model_type count.

    Returns:
        None: the config doesn't say.
    """
    text = config.get("text_config") or config
    positions = text.get("max_position_embeddings") or text.get("n_positions")
    if not isinstance(positions, int):
        return None
    return max([positions, *(_stretched(positions, r, text) for r in _scalings(text))])


def _scalings(text: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rotary settings; of some families one for each type of layers."""
    found = text.get("rope_parameters") or text.get("rope_scaling") or {}
    return [r for r in (found, *found.values()) if isinstance(r, Mapping)]


def _stretched(positions: int, rope: Mapping[str, Any], text: Mapping[str, Any]) -> int:
    kind, factor = rope.get("rope_type") or rope.get("type"), rope.get("factor") or 1.0
    if kind == "yarn":
        return int((rope.get("original_max_position_embeddings") or positions) * factor)
    # Gemma 3 writes its stretched length into max_position_embeddings.
    if kind in _STRETCHING and not str(text.get("model_type")).startswith("gemma3"):
        return int(positions * factor)
    return 0
