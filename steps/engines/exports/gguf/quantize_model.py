"""llama.cpp's own quantizer out of its shared library, in a process of its own: LIBRARY SOURCE OUT KIND."""

import ctypes
import sys

# llama.h, `enum llama_ftype`.
_KINDS = {"Q4_K_M": 15}


class _Settings(ctypes.Structure):
    """`llama_model_quantize_params`: threads and kind come first; the rest stays as the library sets it, and has room
    to grow."""

    _fields_ = (("nthread", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_uint8 * 1024))


def _main(library: str, source: str, out: str, kind: str) -> int:
    llama = ctypes.CDLL(library)
    llama.llama_model_quantize_default_params.restype = _Settings
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_Settings)]
    llama.llama_model_quantize.restype = ctypes.c_uint32
    settings = llama.llama_model_quantize_default_params()
    settings.nthread, settings.ftype = 1, _KINDS[kind]
    return int(llama.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(settings)))


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
