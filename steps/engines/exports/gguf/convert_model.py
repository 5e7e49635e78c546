"""Runs llama.cpp's converter in a process of its own: FOLDER MODEL OUT DTYPE NAME PRE_TOKENIZER REPORT END...

What the converter makes of the tokenizer goes into REPORT as JSON. Where it doesn't recognise how the tokenizer splits
text, PRE_TOKENIZER is taken; whoever started this proves it then, or refuses the file. Each END is a token
that ends an answer, beside those that llama.cpp knows.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any


def _main(folder: str, model: str, out: str, dtype: str, name: str, given: str, report: str, *ends: str) -> None:
    sys.path[:0] = [folder, f"{folder}/gguf-py"]
    from conversion.base import TextModel

    recognised = TextModel.get_vocab_base_pre

    def pre_tokenizer(self: Any, tokenizer: Any) -> str:
        try:
            found, known = str(recognised(self, tokenizer)), True
        except NotImplementedError:
            if not given:
                raise
            found, known = given, False
        Path(report).write_text(json.dumps({"pre_tokenizer": found, "recognised": known}), "utf-8")
        return found

    TextModel.get_vocab_base_pre = pre_tokenizer
    _add_ends([int(end) for end in ends])
    sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", out, "--outtype", dtype, "--model-name", name]
    runpy.run_path(f"{folder}/convert_hf_to_gguf.py", run_name="__main__")


def _add_ends(ends: list[int]) -> None:
    """Under the two names of such tokens that the file has beside EOS."""
    from gguf import GGUFWriter

    written = GGUFWriter.add_token_types

    def with_ends(self: Any, types: Any) -> None:
        written(self, types)
        for end, add in zip(ends, (self.add_eom_token_id, self.add_eot_token_id), strict=False):
            add(end)

    GGUFWriter.add_token_types = with_ends


if __name__ == "__main__":
    _main(*sys.argv[1:])
