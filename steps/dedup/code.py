"""Rows of which `meta` says that they are code."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# Names of languages as data sets of code spell them, in any case; "c", "go" and "r" in full only. Chosen: the most used
# ones of GitHub's language list (Linguist), without those whose name is a word of another use.
_LANGUAGES = (
    "ada|apex|assembly|awk|bash|c|c#|c[+][+]|clojure|cobol|coffeescript|cpp|crystal|csharp|css|cuda|cython|d|dart|"
    "dockerfile|elixir|elm|erlang|f#|fortran|fsharp|glsl|go|golang|gradle|graphql|groovy|haskell|hcl|hlsl|html|java|"
    "javascript|js|json|jsx|julia|jupyter-notebook|kotlin|latex|lean|lisp|lua|makefile|matlab|nim|nix|objective-c|"
    "ocaml|opencl|pascal|perl|php|powershell|prolog|protobuf|python[23]?|py|r|racket|ruby|rust|scala|scheme|scss|"
    "shell|smalltalk|solidity|sparql|sql|stan|svelte|swift|systemverilog|tcl|terraform|tex|toml|ts|tsx|typescript|"
    "vba|verilog|vhdl|visual-basic|vue|xml|yaml|zig|code"
)
_SAID = rf"""(?i)"(?:programming[_ -]?|code[_ -]?|source[_ -]?)?lang(?:uage)?"\s*:\s*"(?:{_LANGUAGES})\""""


def in_a_language(meta: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Rows whose meta (JSON, null for none) names a programming language, shape (n,)."""
    import pyarrow.compute as pc

    likely = pc.match_substring(meta, '"', ignore_case=False)
    if not pc.any(likely).as_py():
        return np.zeros(len(meta), bool)
    found = pc.fill_null(pc.match_substring_regex(meta, _SAID), False)
    return np.asarray(found.to_numpy(), bool)
