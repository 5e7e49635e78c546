"""LoftQ (Li et al. 2023, arXiv 2310.08659): an adapter over quantized weights begins with the largest part of what they
have lost, so that both together start near the weights as they were.

peft 0.21 does this on CUDA devices only, and leaves the adapter's scale out.
"""

from typing import Any


def begin_with_loss(model: Any, exact: Any, iterations: int) -> float:
    """Set the adapter beside each layer of 4 bits by its weights in full precision (algorithm 1 of the paper), and,
    from the second iteration on, quantize these anew without what the adapter holds.

    Args:
        model: quantized, with an untrained adapter. exact: the same model as it was before, without one.

    Returns:
        What is still lost beside what quantizing alone loses, as a share of the squared differences of all weights.
    """
    import torch

    before = after = 0.0
    with torch.no_grad():
        for name, module in model.named_modules():
            if not hasattr(module, "lora_A") or "default" not in module.lora_A:
                continue
            whole = exact.get_submodule(name.removeprefix("base_model.model.")).weight
            layer = module.get_base_layer()
            whole = whole.to(layer.weight.device, torch.float32)
            plain, rest = _begin(layer, module, whole, iterations)
            before, after = before + plain, after + rest
    return after / before if before else 0.0


def _begin(layer: Any, module: Any, whole: Any, iterations: int) -> tuple[float, float]:
    """Of one layer; returns the squared differences of the quantized weights alone, and with the adapter."""
    lost = whole - _held(layer)
    plain = float(lost.double().square().sum())
    left, right = _largest_part(lost, module.r["default"])
    for _ in range(iterations - 1):
        _quantize_anew(layer, whole - left @ right)
        lost = whole - _held(layer)
        left, right = _largest_part(lost, module.r["default"])
    scale = module.scaling["default"] ** 0.5
    module.lora_A["default"].weight.data = (right / scale).contiguous()
    module.lora_B["default"].weight.data = (left / scale).contiguous()
    return plain, float((lost - left @ right).double().square().sum())


def _held(layer: Any) -> Any:
    """A layer's weights of 4 bits as numbers, float32 of shape (outputs, inputs)."""
    import torch
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(torch.float32)


def _quantize_anew(layer: Any, weight: Any) -> None:
    """Hold other weights in the way in which the layer's are held."""
    from bitsandbytes.nn.modules import Params4bit

    old = layer.weight
    made = Params4bit(
        weight.to(old.quant_state.dtype).contiguous(),
        requires_grad=False,
        blocksize=old.blocksize,
        compress_statistics=old.compress_statistics,
        quant_type=old.quant_type,
        quant_storage=old.quant_storage,
        module=layer,
    )
    layer.weight = made.to(old.device)


def _largest_part(matrix: Any, rank: int) -> tuple[Any, Any]:
    """The best approximation of that rank, as two factors that share its singular values: (outputs, rank), (rank,
    inputs).
    """
    import torch

    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    shared = values[:rank].sqrt()
    return left[:, :rank] * shared, shared[:, None] * right[:rank]
