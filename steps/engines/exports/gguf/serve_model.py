"""llama.cpp's server over a GGUF file, in a process of its own. Its first line of input are its settings as JSON; it
says its address, and ends with its input, so that it doesn't outlive whoever started it.
"""

import json
import sys
from typing import Any

import xllamacpp


def _main(file: str, key: str, context: int, parallel: int, threads: int, *, tells_special: bool) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.n_ctx = context
    params.n_parallel = parallel
    # One memory for all of them: whoever asks sees to it that they fit.
    params.kv_unified = True
    # One for each that is answered, and for those who ask how it is.
    params.n_threads_http = parallel + 2
    params.n_gpu_layers = 0
    for numbers in (params.cpuparams, params.cpuparams_batch):
        numbers.n_threads = threads
    params.special = tells_special
    params.warmup = False
    params.ui = False
    params.endpoint_slots = False
    # Nothing that is asked stands in its log.
    params.verbosity = 1
    # Weights that are packed anew for matrix units (AMX): 8 bits ended in SIGSEGV there.
    params.no_extra_bufts = True
    server: Any = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _main(**json.loads(sys.stdin.readline()))
