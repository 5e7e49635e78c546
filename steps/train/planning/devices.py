"""Cards that people train on, as their makers describe them. None of these figures was measured here."""

import difflib
from dataclasses import dataclass

from steps.contracts.errors import ConfigError
from steps.train.settings import Plan

# A GDDR6 card with error correction stores its check bits in the same memory: a sixteenth of it.
_ECC_SHARE = 1 / 16
# Share of the peak that a training loop reaches, as model FLOPs: 38 to 43 % on H100s over whole training runs of
# Llama 3 (arXiv 2407.21783, table 4), and 46 % of TPUs (PaLM, arXiv 2204.02311, table 3).
PUBLISHED_MFU = 0.40
MFU_SOURCE = "Llama 3, arXiv 2407.21783, table 4: 38 to 43 % on H100s"
# Chosen: fine-tuning on short rows with padding, by kernels that nobody tuned, gets half of that.
CAREFUL_MFU = 0.20


@dataclass(frozen=True)
class Device:
    """A card.

    Attributes:
        name: what it is called on the command line; also: other names.
        memory_gib: as sold, in GiB (makers say GB); ecc: whether error correction takes a part of it.
        bandwidth: of its memory, 1e9 bytes per second.
        bf16, fp16, fp32: peak of dense matrix products that add up in float32, 1e12 operations per second; None: it has
            no such units.
        source: where these figures stand.
    """

    name: str
    memory_gib: float
    bandwidth: float
    bf16: float | None
    fp16: float
    fp32: float
    source: str
    also: tuple[str, ...] = ()
    ecc: bool = False

    @property
    def memory(self) -> int:
        """Bytes that a program sees, before anything is loaded."""
        return int(self.memory_gib * 2**30 * (1 - _ECC_SHARE if self.ecc else 1))

    def peak(self, plan: Plan) -> float:
        """Operations per second at most, by the number format that products are computed in."""
        if plan.fp16:
            return 1e12 * self.fp16
        if plan.bf16 or plan.dtype == "bfloat16":
            return 1e12 * (self.bf16 or self.fp32)
        return 1e12 * self.fp32


_AMPERE = "NVIDIA A100 datasheet (2021)"
_GA102 = "NVIDIA Ampere GA102 whitepaper v2 (2021)"
_ADA = "NVIDIA Ada GPU architecture whitepaper (2022)"
_HOPPER = "NVIDIA H100 datasheet (2023)"
DEVICES = (
    Device("rtx-3070", 8, 448, 40.6, 40.6, 20.3, _GA102, ("3070",)),
    Device("t4", 16, 320, None, 65, 8.1, "NVIDIA T4 datasheet (2019)", ecc=True),
    Device("v100-32gb", 32, 900, None, 125, 15.7, "NVIDIA V100 datasheet (2020)", ("v100",)),
    Device("rtx-3090", 24, 936, 71, 71, 35.6, _GA102, ("3090",)),
    Device("rtx-4090", 24, 1008, 165.2, 165.2, 82.6, _ADA, ("4090",)),
    Device("rtx-5090", 32, 1792, 209.5, 209.5, 104.8, "NVIDIA RTX Blackwell whitepaper (2025)", ("5090",)),
    Device("a10", 24, 600, 125, 125, 31.2, "NVIDIA A10 datasheet (2021)", ecc=True),
    Device("a10g", 24, 600, 70, 70, 35, "NVIDIA A10G datasheet (2021)", ecc=True),
    Device("l4", 24, 300, 121, 121, 30.3, "NVIDIA L4 datasheet (2023)", ecc=True),
    Device("a6000", 48, 768, 154.8, 154.8, 38.7, _GA102, ("rtx-a6000",), ecc=True),
    Device("l40s", 48, 864, 362.05, 362.05, 91.6, "NVIDIA L40S datasheet (2023)", ecc=True),
    Device("a100-40gb", 40, 1555, 312, 312, 19.5, _AMPERE),
    Device("a100-80gb", 80, 2039, 312, 312, 19.5, _AMPERE, ("a100",)),
    Device("h100-pcie", 80, 2000, 756, 756, 51, _HOPPER),
    Device("h100", 80, 3350, 989, 989, 67, _HOPPER, ("h100-sxm",)),
    Device("h200", 140, 4800, 989, 989, 67, "NVIDIA H200 datasheet (2024)"),
    Device("mi300x", 192, 5300, 1307.4, 1307.4, 163.4, "AMD Instinct MI300X datasheet (2023)"),
)


def device_named(name: str) -> Device:
    """The card of that name, in any case.

    Raises:
        ConfigError: there is none.
    """
    wanted = name.lower().replace("_", "-").replace(" ", "-").removeprefix("nvidia-")
    known = {key: d for d in DEVICES for key in (d.name, *d.also)}
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(
        f"no device {name!r} in the table", where="--device",
        hint=f"{meant}there are {', '.join(d.name for d in DEVICES)}; --memory GIB plans for any other card",
    )  # fmt: skip


def device_like(name: str) -> Device | None:
    """The card that torch calls so, such as "NVIDIA A100-SXM4-80GB"; None: it isn't in the table."""
    words = set(name.lower().replace("-", " ").split())
    for device in sorted(DEVICES, key=lambda d: -len(d.name)):
        if any(set(key.split("-")) <= words for key in (device.name, *device.also)):
            return device
    return None
