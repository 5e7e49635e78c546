"""GGUF exports of small models, proven as every export is."""

from pathlib import Path

from support.llama_cpp import converter

from steps.engines.exports.exported_folder import write_export
from steps.engines.exports.folder_format import Options, Source
from steps.engines.exports.formats import FORMATS
from steps.engines.exports.probes import prompts, texts


def exported(source: Source, folder: Path, dtype: str = "f32") -> Path:
    """The export's folder in `folder`; the test is skipped where llama.cpp isn't here."""
    options = Options(dtype, llama_cpp=converter())
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    write_export(
        source, "x", FORMATS["gguf"], folder / "out", folder / "scratch", prompts()[:3], texts(), options,
        format_name="gguf", max_new_tokens=8,
    )  # fmt: skip
    return folder / "out"
