"""Load a causal language model and its tokenizer. Safetensors only, no code from the model folder, local files only."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.contracts.models import ModelFolder
from steps.engines.lm.device import resolve_device
from steps.engines.lm.folder import check_files, quantization_of
from steps.engines.lm.hub import download
from steps.engines.lm.quantized import Quantization, keep_exact, without_missing_kernel
from steps.engines.template.effective import apply_settings, config_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")
# Folder in an adapter's folder with the adapters of earlier phases, by number.
EARLIER = "earlier"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for inference (eval mode) on `device`, and the tokenizer it was trained with."""

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    device: str


def load(
    base: ModelFolder, adapter: ModelFolder | None = None, *, dtype: str = "float32", device: str = "auto"
) -> LoadedModel:
    """Load the base, or what was trained from it: an adapter over `base`, or a full model in its place.

    A float32 adapter is merged into the weights (same function up to rounding, fewer operations per token); in
    16 bits merging would round the update away, so there it stays beside them. Adapters of earlier phases, which lie
    in the adapter's folder, are merged first, in float32, whatever the dtype: as training saw them (`load_start`).

    Args:
        base: weights on disk, or a reference to them (hub commit, local folder); for an adapter the full weights
            that it lies over.
        adapter: a tuned model of kind "adapter" or "full"; None loads the base itself.
        dtype: one of DTYPES.
        device: see `resolve_device`.

    Raises:
        InputNotFoundError: files are missing, or there are only pickled weights.
        ConfigError: no such number format, or the device can't be used here.
        IntegrityError: a local folder changed since it was recorded, or the adapter lies over another base.
        ServiceError: the hub can't be reached.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}", hint=f"use one of {', '.join(DTYPES)}")
    where = resolve_device(device, base.info.base.name)
    whole = adapter if adapter is not None and adapter.info.kind == "full" else base
    if adapter is None or adapter is whole:
        model = _weights(whole, dtype)
    else:
        model = _with_adapter(_under(base, adapter, dtype), adapter_path(adapter), merge=dtype == "float32")
        _take_generation_config(model, adapter_path(adapter))
    tokenizer = load_tokenizer(adapter if adapter is not None and has_tokenizer(adapter) else whole)
    return LoadedModel(model.to(where).eval(), tokenizer, where)


def load_without_weights(base: ModelFolder, adapter: ModelFolder | None = None) -> LoadedModel:
    """The same with no numbers in its weights and no memory for them: what renders, counts and knows its ends.

    Raises:
        InputNotFoundError: files are missing.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    whole = adapter if adapter is not None and adapter.info.kind == "full" else base
    path = weights_path(whole)
    try:
        config = AutoConfig.from_pretrained(str(path), trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError) as e:
        raise InputNotFoundError(f"not a causal model: {_first_line(e)}", where=str(path)) from e
    if (path / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(str(path), local_files_only=True)
    if adapter is not None and adapter is not whole:
        _take_generation_config(model, adapter_path(adapter))
    tokenizer = load_tokenizer(adapter if adapter is not None and has_tokenizer(adapter) else whole)
    return LoadedModel(model.eval(), tokenizer, "meta")


def load_start(
    base: ModelFolder,
    adapter: ModelFolder | None,
    *,
    dtype: str,
    device: str,
    quantization: Quantization | None = None,
) -> LoadedModel:
    """What training starts from: as `load`, but an adapter is merged in float32 whatever the dtype.

    So a new adapter lies over plain weights, and what it started from is the model without it. With `quantization`
    these are then quantized, by way of files where an adapter was merged.

    Raises: as `load`.
    """
    if quantization is not None:
        return _quantized(base, adapter, quantization, dtype, device)
    if adapter is None or adapter.info.kind == "full":
        return load(base, adapter, dtype=dtype, device=device)
    merged = _merged(base, adapter, [*earlier_adapters(adapter), adapter_path(adapter)])
    _take_generation_config(merged, adapter_path(adapter))
    tokenizer = load_tokenizer(adapter if has_tokenizer(adapter) else base)
    where = resolve_device(device, base.info.base.name)
    return LoadedModel(_in_dtype(merged, dtype).to(where).eval(), tokenizer, where)


def _quantized(
    base: ModelFolder, adapter: ModelFolder | None, quantization: Quantization, dtype: str, device: str
) -> LoadedModel:
    where = resolve_device(device, base.info.base.name)
    with tempfile.TemporaryDirectory(prefix="assay-merged-") as scratch:
        path = weights_path(adapter if adapter is not None and adapter.info.kind == "full" else base)
        if adapter is not None and adapter.info.kind == "adapter":
            merged = load_start(base, adapter, dtype=dtype, device="cpu")
            path = Path(scratch)
            merged.model.save_pretrained(str(path))
            del merged
        if quantization_of(path) is not None:
            raise ConfigError(
                "the weights are quantized already (mxfp4)", where=str(path), hint="train with weights: {kind: lora}"
            )
        model = _read(path, dtype, quantization_config=quantization.config(dtype), device_map={"": where})
    keep_exact(model)
    if adapter is not None and adapter.info.kind == "adapter":
        _take_generation_config(model, adapter_path(adapter))
    tokenizer = load_tokenizer(adapter if adapter is not None and has_tokenizer(adapter) else base)
    return LoadedModel(model.eval(), tokenizer, where)


def earlier_adapters(adapter: ModelFolder) -> list[Path]:
    """Folders of the adapters that are merged before this one, in their order."""
    return sorted((adapter_path(adapter) / EARLIER).glob("[0-9]*"), key=lambda p: int(p.name))


def adapter_path(adapter: ModelFolder) -> Path:
    """The folder of an adapter's files. Raises InputNotFoundError when it is only a reference."""
    if adapter.path is None:
        hint = "an adapter folder needs adapter_config.json and adapter_model.safetensors"
        raise InputNotFoundError("the adapter is only a reference", where=adapter.info.digest[:12], hint=hint)
    return adapter.path


def _checked(base: ModelFolder, adapter: ModelFolder) -> ModelFolder:
    """The base, when the adapter lies over it."""
    over = adapter.info.over
    if over is not None and over != base.info.digest:
        raise IntegrityError(
            f"the adapter {adapter.info.name} lies over the weights {over[:12]}, these are {base.info.digest[:12]}",
            where=str(adapter.path),
            hint="load it over the full model that its started_from names last",
        )
    return base


def _merged(base: ModelFolder, adapter: ModelFolder, folders: Sequence[Path]) -> Any:
    """The base's weights in float32 with these adapters merged one after the other."""
    model = _weights(_checked(base, adapter), "float32")
    for folder in folders:
        model = _with_adapter(model, folder, merge=True)
    # peft freezes what lies under an adapter, and leaves it so.
    return model.requires_grad_(True)


def _under(base: ModelFolder, adapter: ModelFolder, dtype: str) -> Any:
    """The weights that an adapter was trained over: the base, and what earlier phases made of it."""
    earlier = earlier_adapters(adapter)
    return _in_dtype(_merged(base, adapter, earlier), dtype) if earlier else _weights(_checked(base, adapter), dtype)


def _in_dtype(model: Any, dtype: str) -> Any:
    """A float32 model with its weights in `dtype`; buffers (rotary frequencies) stay exact, as when it is loaded so."""
    import torch

    for weight in model.parameters():
        weight.data = weight.data.to(getattr(torch, dtype))
    return model


def _weights(whole: ModelFolder, dtype: str) -> Any:
    """The model of a folder of full weights, every one of which must be there.

    Raises:
        InputNotFoundError: no model that transformers can load. IntegrityError: weights are missing.
    """
    path = weights_path(whole)
    packed = quantization_of(path)
    model = _read(path, dtype, **(_unpacking() if packed else {}))
    if packed:
        # Saved by the way back, unpacked weights would be called packed ones, and be found missing.
        model._weight_conversions = None
    return model


def _read(path: Path, dtype: str, **options: Any) -> Any:
    """The model of a folder. `options`: further arguments of from_pretrained."""
    import torch
    from transformers import AutoModelForCausalLM

    hint = "the folder needs config.json and *.safetensors of a model that transformers knows"
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except (OSError, ValueError) as e:
        raise InputNotFoundError(f"not a loadable causal model: {_first_line(e)}", where=str(path), hint=hint) from e
    # transformers puts random ones in their place.
    if lost := sorted({*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}):
        what = f"{len(lost)} weights of the model are in no file or have another shape there, the first is {lost[0]}"
        raise IntegrityError(what, where=str(path), hint="save config.json and weights of one and the same model")
    return model


def _unpacking() -> dict[str, Any]:
    """Arguments with which packed weights are loaded as numbers of their own, whatever kernels there are."""
    from transformers import Mxfp4Config

    return {"quantization_config": Mxfp4Config(dequantize=True)}


def load_tokenizer(model: ModelFolder) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder or reference, with its chat template as the model's settings want it.

    Raises:
        InputNotFoundError: there is none. ConfigError: a setting that the template has no place for.
    """
    from transformers import AutoTokenizer

    path = weights_path(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as e:
        hint = "the folder needs tokenizer.json and tokenizer_config.json"
        raise InputNotFoundError(f"no loadable tokenizer: {_first_line(e)}", where=str(path), hint=hint) from e
    settings = model.info.template
    apply_settings(tokenizer, config_of(settings), settings.override if settings else None)
    return tokenizer


def weights_path(model: ModelFolder) -> Path:
    """The folder that holds a model's files: its own, or the one its base reference names (digest verified)."""
    if model.path is not None:
        return model.path
    ref = model.info.base
    if ref.source == "hub":
        if ref.revision is None:
            raise ValueError(f"{ref.name}: a hub reference without a commit hash")
        return download(ref.name, ref.revision)
    path = Path(ref.name)
    if ref.source != "local" or ref.digest is None:
        raise ValueError(f"{ref.name}: a {ref.source} model without its files or their digest")
    check_files(path, ref.digest)
    return path


def _with_adapter(model: Any, folder: Path, *, merge: bool) -> Any:
    without_missing_kernel()
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        hint = "an adapter folder needs adapter_config.json and adapter_model.safetensors"
        raise InputNotFoundError("no safetensors adapter here", where=str(folder), hint=hint)
    tuned = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
    return tuned.merge_and_unload(safe_merge=True) if merge else tuned


def core_of(model: Any) -> Any:
    """The transformers model itself, where an adapter lies over it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _take_generation_config(model: Any, folder: Path) -> None:
    """Give a model the generation_config.json that lies beside its adapter: it names what ended the trained turns."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return
    try:
        core_of(model).generation_config = GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as e:
        where = str(folder / "generation_config.json")
        raise InputNotFoundError(f"not a loadable generation config: {_first_line(e)}", where=where) from e


def has_tokenizer(model: ModelFolder) -> bool:
    """Whether a tokenizer lies in the model's own folder."""
    return model.path is not None and (model.path / "tokenizer_config.json").is_file()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
