"""The formats that models are written in as folders, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from steps.engines.exports.adapter import Adapter
from steps.engines.exports.folder_format import FolderFormat
from steps.engines.exports.gguf.gguf_format import Gguf
from steps.engines.exports.merged import Merged
from steps.engines.exports.onnx_format import Onnx

FORMATS: Mapping[str, FolderFormat] = MappingProxyType(
    {"adapter": Adapter(), "merged": Merged(), "gguf": Gguf(), "onnx": Onnx()}
)
