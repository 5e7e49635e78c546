"""How much disk a phase takes."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ops.training_plan.described import Described
from ops.training_plan.rows import Rows
from steps.train.config import TrainConfig
from steps.train.memory_estimate import Shape, optimizer_bytes
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of

# Token ids and labels are int32.
_TOKEN_BYTES = 8
_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


@dataclass(frozen=True)
class Disk:
    """Bytes per part; `free` where the state folder lies.

    Attributes:
        base: the base's weights as stored.
        checkpoints: as many as are kept, and the one that is being written.
        tokens: encoded rows; None: their number isn't known.
        model: what comes out, in the artifact store and in the registry.
    """

    base: int
    checkpoints: int
    tokens: int | None
    model: int
    free: int

    @property
    def total(self) -> int:
        """All of it, tokens where they are known."""
        return self.base + self.checkpoints + (self.tokens or 0) + self.model


def disk_of(base: Described, shape: Shape, phase: TrainConfig, plan: Plan, rows: Rows, state: Path) -> Disk:
    """Bytes, told without writing any."""
    adapter = weights_of(phase.weights).stored_as == "adapter"
    width = 4 if plan.dtype == "float32" else 2
    model = 4 * shape.trainable if adapter else width * shape.parameters
    checkpoint = model + optimizer_bytes(phase, shape)
    known = rows.count is not None and bool(rows.lengths)
    mean = sum(rows.lengths) / max(len(rows.lengths), 1)
    place = next(p for p in (state, *state.parents) if p.exists())
    return Disk(
        base=_stored(base, shape),
        checkpoints=(phase.save_total_limit + 1) * checkpoint,
        tokens=round((rows.count or 0) * mean * _TOKEN_BYTES) if known else None,
        model=2 * model,
        free=shutil.disk_usage(place).free,
    )


def _stored(base: Described, shape: Shape) -> int:
    files = list(base.file.parent.glob("*.safetensors")) if base.has_weights else []
    if files:
        return sum(f.stat().st_size for f in files)
    values = base.values()
    dtype = str(values.get("dtype") or values.get("torch_dtype") or "bfloat16")
    return _WIDTHS.get(dtype, 2) * shape.parameters
