"""llama.cpp's own converter and quantizer, found on this machine and run in processes of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.errors import ConfigError, IntegrityError, MissingDependencyError
from steps.contracts.storage import full_disk
from steps.engines.exports.gguf.tokenizer_files import SENTENCEPIECE

LLAMA_CPP = "ASSAY_LLAMA_CPP"
_PROGRAM = Path(__file__).with_name("convert_model.py")
_FETCHED = ".venv-llama-cpp"
_CONVERTER, _PACKAGE = "convert_hf_to_gguf.py", "conversion/base.py"
_QUANTIZER, _LIBRARY = "llama-quantize", "libllama.*so*"
_FALLBACK = re.compile(r"(\d+) of (\d+) tensor\(s\) required fallback quantization")
_GET = f"`make llama-cpp` fetches it; or name a checkout of llama.cpp by --llama-cpp FOLDER or {LLAMA_CPP}"
# How tokenizers split text before tokens are merged, as published by Qwen 2, Llama 3 and GPT-4o (GPT-2's is the rule of
# byte-level itself), and llama.cpp's name of it. A tokenizer that its converter doesn't know is tried by the name of
# its rule, and proven.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_EDGE, _ENDS = r"[^\r\n\p{L}\p{N}]?", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_LARGE, _SMALL = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_RULES: Mapping[str, str] = {
    _WORDS + r"\p{N}" + _REST: "qwen2",
    _WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    rf"{_EDGE}[{_LARGE}]*[{_SMALL}]+{_ENDS}|{_EDGE}[{_LARGE}]+[{_SMALL}]*{_ENDS}|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "gpt-4o",
}
_BYTE_LEVEL = "gpt-2"
# As an error: its log says so as well where a name was given.
_UNKNOWN = "NotImplementedError: BPE pre-tokenizer was not recognized"
# What numpy says when a disk is full.
_CUT = re.compile(r"\d+ requested and \d+ written")
_REGISTERED = re.compile(r"\.register\(([^)]*)\)")
_UNSUPPORTED = re.compile(r"Model (\S+) is not supported|Architecture '?([\w.]+)'? not supported")


@dataclass(frozen=True)
class Converted:
    """What the converter made of a tokenizer; `recognised`: it knows it, and nobody had to name its splitting rule."""

    pre_tokenizer: str
    recognised: bool


def converter_folder(named: Path | None) -> Path:
    """The folder of llama.cpp's converter.

    Raises:
        MissingDependencyError: there is none, or something else.
    """
    text = os.environ.get(LLAMA_CPP)
    folder = named or (Path(text) if text else None)
    if folder is None:
        raise MissingDependencyError("llama.cpp's converter isn't here", hint=_GET)
    folder = folder.expanduser().absolute()
    for part in (_CONVERTER, _PACKAGE, "gguf-py"):
        if not (folder / part).exists():
            raise MissingDependencyError(f"no {part} in this folder", where=str(folder), hint=_GET)
    return folder


def fetched_converter(root: Path) -> Path | None:
    """Where `make llama-cpp` has put it below a checkout; None: the environment says, or nothing does."""
    fetched = root / _FETCHED
    return fetched if not os.environ.get(LLAMA_CPP) and fetched.is_dir() else None


def known_architectures(folder: Path) -> set[str]:
    """Those that a converter has a class for, by their names in config.json."""
    files = (folder / _CONVERTER, *sorted((folder / "conversion").glob("*.py")))
    named = (m[1] for f in files for m in _REGISTERED.finditer(f.read_text("utf-8", "replace")))
    return {name for names in named for name in re.findall(r"\w+", names)}


def require_quantizer(folder: Path, dtype: str) -> None:
    """Raises MissingDependencyError where there is no quantizer."""
    _quantizer(folder, dtype)


def splitting_rule(tokenizer: Path) -> str:
    """llama.cpp's name of the rule by which a tokenizer.json splits text; "" where it is none of those known here."""
    try:
        rules = json.loads(tokenizer.read_text("utf-8")).get("pre_tokenizer") or {}
    except (OSError, ValueError, AttributeError):
        return ""
    steps: Sequence[Mapping[str, Any]] = rules.get("pretokenizers") or [rules]
    splits = [s.get("pattern", {}).get("Regex", "") for s in steps if s.get("type") == "Split"]
    if len(splits) == 1:
        return _RULES.get(splits[0], "")
    byte_level = [s for s in steps if s.get("type") == "ByteLevel" and s.get("use_regex", True)]
    return _BYTE_LEVEL if len(steps) == len(byte_level) == 1 else ""


def convert(
    folder: Path, model: Path, out: Path, dtype: str, name: str, pre_tokenizer: str, scratch: Path,
    ends: Sequence[int] = (),
) -> Converted:  # fmt: skip
    """Write `out` from a folder of full weights.

    Args:
        pre_tokenizer: llama.cpp's name of the splitting rule for a tokenizer that it doesn't recognise; "": none.
        ends: tokens that end an answer, of which the converter doesn't know it; two at most.

    Raises:
        ConfigError: llama.cpp has no such architecture, or doesn't recognise the tokenizer. StorageError: no room.
        MissingDependencyError: a package that it needs isn't installed. IntegrityError: it failed.
    """
    report = scratch / "converted.json"
    arguments = [str(folder), str(model), str(out), dtype, name, pre_tokenizer, str(report)]
    arguments += [str(i) for i in ends]
    done = _run([sys.executable, str(_PROGRAM), *arguments], scratch)
    if done.returncode:
        raise _explained(_words(done), str(model))
    if not report.is_file():  # a tokenizer of another kind than BPE
        return Converted("", True)
    found = json.loads(report.read_text("utf-8"))
    return Converted(found["pre_tokenizer"], found["recognised"])


def quantize(folder: Path, source: Path, out: Path, kind: str, scratch: Path) -> list[str]:
    """Write `out` from a GGUF file of 16 bits by llama.cpp's own quantizer; returns what must be known of it.

    Raises:
        MissingDependencyError: it isn't here. IntegrityError: it failed. StorageError: no room.
    """
    done = _run([*_quantizer(folder, kind), str(source), str(out), kind], scratch)
    if done.returncode:
        raise _explained(_words(done), str(source))
    other = _FALLBACK.search(_words(done))
    return [f"{other[1]} of {other[2]} tensors have no rows of 256 numbers, and got more bits"] if other else []


def _quantizer(folder: Path, kind: str) -> list[str]:
    """The program, or what runs the library's function."""
    places = [folder, folder / "build/bin", folder / "bin"]
    program = next((str(p / _QUANTIZER) for p in places if (p / _QUANTIZER).is_file()), shutil.which(_QUANTIZER))
    if program is not None:
        return [program]
    library = next((f for p in (*places, folder / "lib") for f in sorted(p.glob(_LIBRARY))), None)
    if library is not None:
        return [sys.executable, str(Path(__file__).with_name("quantize_model.py")), str(library)]
    raise MissingDependencyError(
        f"llama.cpp's quantizer isn't here, which {kind} needs", where=str(folder),
        hint=f"`make llama-quantize` fetches it; or build {_QUANTIZER} in a checkout of llama.cpp; q8_0 needs none",
    )  # fmt: skip


def _run(command: Sequence[str], scratch: Path) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    variables = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", cwd=scratch, env={**kept, **variables}, check=False
    )


def _words(done: subprocess.CompletedProcess[str]) -> str:
    """All that a program said last."""
    return done.stdout[-2000:] + done.stderr[-6000:] or f"it ended with status {done.returncode}"


def _explained(said: str, where: str) -> Exception:
    # What it tried before stands in its words as well.
    last = said.strip().splitlines()[-1][:300]
    if full := full_disk(OSError("No space left on device" if _CUT.search(said) else said)):
        return full
    if match := _UNSUPPORTED.search(said):
        return ConfigError(
            f"llama.cpp has no architecture {match[1] or match[2]}", where="--to gguf", hint="--to merged"
        )
    if re.search(rf"(Missing|File not found:) \S*{re.escape(SENTENCEPIECE)}", last):
        return ConfigError(
            f"llama.cpp's converter reads this kind of tokenizer from {SENTENCEPIECE}, which the model hasn't",
            where="--to gguf", hint="lay the file that was published with the base into its folder, or --to merged",
        )  # fmt: skip
    if _UNKNOWN in last:
        return ConfigError(
            "llama.cpp's converter doesn't recognise how this tokenizer splits text", where=where,
            hint="--pre-tokenizer NAME says which of llama.cpp's rules it is (qwen2, llama-bpe, gpt-2 ...); that is"
            " proven then text by text",
        )  # fmt: skip
    if match := re.search(r"No module named '([\w.]+)'", said):
        return MissingDependencyError(f"llama.cpp's converter needs {match[1]}", hint="pip install 'assay[gguf]'")
    return IntegrityError(f"llama.cpp's program failed: {last}", where=where)
