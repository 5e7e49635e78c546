"""What a run couldn't export, as far as it is known before it trains."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from ops.fitting import values_of
from pipelines.config import RunConfig
from steps.contracts.errors import AssayError, ConfigError
from steps.contracts.models import BASE
from steps.engines.exports.gguf.converter import fetched_converter
from steps.engines.exports.gguf.gguf_format import require_convertible
from steps.engines.exports.onnx_format import require_onnx
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.yaml_lines.parse import KeyPath
from steps.export.config import FormatConfig
from steps.train.config import TrainConfig
from steps.train.weights.registry import weights_of

# Where, what, whether the run would end by it, what else that rests on, and the kind of error.
Unmakeable: TypeAlias = tuple[KeyPath, str, bool, tuple[str, ...], type[AssayError]]


def unmakeable(root: Path, config: RunConfig, base: Path | None, here: bool) -> Iterator[Unmakeable]:
    """`base`: where its config.json lies, if that is on this machine; `here`: the run's steps are too."""
    if config.export is None or not config.runs("export"):
        return
    phases = {p.model_name: p for p in config.phases}
    phase = phases.get(config.candidate)
    if phase is not None and phase.objective.kind == "reward":
        what = f"{config.candidate} is a reward model, which gives numbers and writes no text"
        yield ("export",), what, True, ("train",), ConfigError
        return
    if config.evaluate.decoding != DecodingConfig():
        what = "exports are held against greedy answers, and other programs don't know what evaluate.decoding asks for"
        yield ("export",), what, True, ("evaluate",), ConfigError
    for place, one in enumerate(config.export.formats):
        at: KeyPath = ("export", "formats", place)
        if one.to == "adapter" and (what := _no_adapter(phase, phases)):
            yield at, what, True, ("train",), ConfigError
        try:
            if here:
                _require_tools(root, one, base)
        except AssayError as e:
            yield at, f"{e.what}; {e.hint}" if e.hint else e.what, True, ("base",), type(e)


def _no_adapter(phase: TrainConfig | None, phases: dict[str, TrainConfig]) -> str:
    """Why the candidate's own files are no adapter that others take; "" where they are."""
    if phase is None:
        return ""
    if weights_of(phase.weights).stored_as == "full":
        return f"{phase.model_name} has full weights, no adapter; to: merged"
    before = phases.get(phase.starts_from or BASE)
    if before is not None and weights_of(before.weights).stored_as == "adapter":
        return f"{phase.model_name} lies over the adapter of an earlier phase, which programs wouldn't see; to: merged"
    return ""


def _require_tools(root: Path, one: FormatConfig, base: Path | None) -> None:
    if one.to == "onnx":
        require_onnx()
    if one.to == "gguf":
        named = values_of(base).get("architectures") if base is not None else None
        require_convertible(one.dtype, fetched_converter(root), [str(a) for a in named or ()])
