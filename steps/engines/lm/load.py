"""Load a causal language model and its tokenizer. Safetensors only, no code from the model folder, local files only."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.contracts.models import ModelFolder
from steps.engines.lm.device import resolve_device
from steps.engines.lm.folder import check_files
from steps.engines.lm.hub import download

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")


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
    16 bits merging would round the update away, so there it stays beside them.

    Args:
        base: weights on disk, or a reference to them (hub commit, local folder).
        adapter: a tuned model of kind "adapter" or "full"; None loads the base itself.
        dtype: one of DTYPES.
        device: see `resolve_device`.

    Raises:
        InputNotFoundError: files are missing, or there are only pickled weights.
        ConfigError: no such number format, or the device can't be used here.
        IntegrityError: a local folder changed since it was recorded.
        ServiceError: the hub can't be reached.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}", hint=f"use one of {', '.join(DTYPES)}")
    where = resolve_device(device, base.info.base.name)
    whole = adapter if adapter is not None and adapter.info.kind == "full" else base
    path = weights_path(whole)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError) as e:
        hint = "the folder needs config.json and *.safetensors of a model that transformers knows"
        raise InputNotFoundError(f"not a loadable causal model: {_first_line(e)}", where=str(path), hint=hint) from e
    if adapter is not None and adapter.info.kind == "adapter":
        model = _with_adapter(model, adapter, merge=dtype == "float32")
    tokenizer = load_tokenizer(adapter if adapter is not None and _has_tokenizer(adapter) else whole)
    return LoadedModel(model.to(where).eval(), tokenizer, where)


def load_tokenizer(model: ModelFolder) -> "PreTrainedTokenizerBase":
    """The tokenizer (with its chat template) of a model folder or reference.

    Raises:
        InputNotFoundError: there is none.
    """
    from transformers import AutoTokenizer

    path = weights_path(model)
    try:
        return AutoTokenizer.from_pretrained(str(path), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as e:
        hint = "the folder needs tokenizer.json and tokenizer_config.json"
        raise InputNotFoundError(f"no loadable tokenizer: {_first_line(e)}", where=str(path), hint=hint) from e


def weights_path(model: ModelFolder) -> Path:
    """The folder that holds a model's files: its own, or the one its base reference names (digest verified)."""
    if model.path is not None:
        return model.path
    ref = model.info.base
    if ref.source == "hub":
        if ref.revision is None:
            raise IntegrityError("a hub reference without a commit hash", where=ref.name)
        return download(ref.name, ref.revision)
    path = Path(ref.name)
    if ref.source == "scratch" or ref.digest is None:
        raise IntegrityError(f"a {ref.source} model without its files or their digest", where=ref.name)
    check_files(path, ref.digest)
    return path


def _with_adapter(model: Any, adapter: ModelFolder, *, merge: bool) -> Any:
    from peft import PeftModel

    if adapter.path is None or not (adapter.path / "adapter_model.safetensors").is_file():
        hint = "an adapter folder needs adapter_config.json and adapter_model.safetensors"
        raise InputNotFoundError("no safetensors adapter here", where=str(adapter.path), hint=hint)
    tuned = PeftModel.from_pretrained(model, str(adapter.path), local_files_only=True)
    return tuned.merge_and_unload(safe_merge=True) if merge else tuned


def _has_tokenizer(model: ModelFolder) -> bool:
    return model.path is not None and (model.path / "tokenizer_config.json").is_file()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
