"""llama.cpp, where it is here: tests without it say so, and fail where it is declared to be there."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

# Set where llama.cpp must be there: a test that can't use it fails then.
DECLARED = "ASSAY_TESTS_NEED_LLAMA_CPP"
ROOT = Path(__file__).resolve().parents[2]


def converter(*, quantizer: bool = False) -> Path:
    """The folder of llama.cpp's converter; the test is skipped where something is missing, or the quantizer as well."""
    folder = Path(os.environ.get("ASSAY_LLAMA_CPP") or ROOT / ".venv-llama-cpp")
    missing = [name for name in ("xllamacpp", "gguf", "sentencepiece") if find_spec(name) is None]
    missing += [] if (folder / "convert_hf_to_gguf.py").is_file() else ["its converter (make llama-cpp)"]
    missing += [] if not quantizer or any(folder.glob("lib/libllama.*")) else ["its quantizer (make llama-quantize)"]
    if missing and os.environ.get(DECLARED):
        pytest.fail(f"{DECLARED} is set, but {', '.join(missing)} isn't here")
    if missing:
        pytest.skip(f"NOT TESTED: GGUF; {', '.join(missing)} isn't here")
    return folder
