"""The device that a config names, checked before a model is loaded."""

from steps.contracts.errors import ConfigError


def resolve_device(name: str, where: str) -> str:
    """The device's name as torch knows it, when a tensor can be put on it. "auto": cuda where there is one, else cpu.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as e:
        raise ConfigError(
            f"device {name!r} can't be used here: {str(e).splitlines()[0][:120]}", where=where,
            hint="set device: cpu, or run on a machine that has it with a torch built for it",
        ) from e  # fmt: skip
    return name


def multiplies_bfloat16(device: str) -> bool:
    """Whether the CPU has instructions for bfloat16, so that it isn't emulated; False of other devices."""
    import torch

    has = torch.cpu.get_capabilities()
    return resolve_device(device, device) == "cpu" and any(has.get(f) for f in ("avx512_bf16", "amx_bf16", "bf16"))


def processor(device: str) -> str:
    """The kind of processor behind a device, as far as torch tells: another kind computes other last bits.

    Measured with all-MiniLM-L6-v2: told to use AVX2 where there is AVX-512, 94 % of the numbers of unit vectors differ,
    by at most 2e-7.
    """
    import torch

    device = resolve_device(device, device)
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return str(torch.backends.cpu.get_cpu_capability()) if device == "cpu" else device


def has_bf16() -> bool:
    """Whether this machine's GPU computes in bfloat16 itself: torch also says yes where it is only emulated, slowly."""
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
