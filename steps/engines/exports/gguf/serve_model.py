"""llama.cpp's server over a GGUF file, in a process of its own: FILE CONTEXT. It says its address, and ends with its
input.
"""

import sys

import xllamacpp


def _main(file: str, context: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.ui = False
    # Weights that are packed anew for matrix units (AMX): 8 bits ended in SIGSEGV there.
    params.no_extra_bufts = True
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _main(*sys.argv[1:])
