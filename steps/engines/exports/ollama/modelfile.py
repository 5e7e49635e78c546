"""The Modelfile beside a GGUF file, by which `ollama create` makes a model of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.engines.exports.ollama.proof import TemplateProof, proven_template

MODELFILE = "Modelfile"
# Chosen: tokens of context that most machines have memory for.
_CONTEXT = 8192
_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")
# Chosen: bytes; the longest licences of models have about 50,000.
_LONGEST_LICENCE = 1_000_000
_NO_TEMPLATE = "the model has no chat template"
# Of Ollama's source, server/create.go and server/images.go, August 2026.
WITHOUT = (
    "without a TEMPLATE Ollama takes one of its own for chat templates that it knows, else, since 2026, the file's chat"
    " template by llama.cpp, and before that nothing but the prompt"
)
TOOLS = (
    "requests with tools: since 2026 Ollama takes the file's own chat template by llama.cpp where that knows tools and"
    " the TEMPLATE doesn't; with OLLAMA_GO_TEMPLATE=1, and before that, it refuses them"
)


@dataclass(frozen=True)
class Facts:
    """What is said of a model. `ends`: texts that end an answer; `context`: its longest, in tokens.

    Attributes:
        system: the system message that it was trained with in every conversation; licence: of its base.
    """

    file: str
    context: int
    ends: tuple[str, ...]
    system: str | None = None
    licence: str | None = None


def proof_for(merged: Path, template: str | None, *, adds_bos: bool) -> TemplateProof:
    """Of the model in a folder of full weights; `template`: with its dates as literals."""
    if template is None:
        return TemplateProof(template=None, reason=_NO_TEMPLATE)
    from transformers import AutoTokenizer

    special: Mapping[str, Any] = AutoTokenizer.from_pretrained(str(merged)).special_tokens_map
    return proven_template(template, special, adds_bos=adds_bos)


def facts_of(merged: Path, file: str, context: int, system: str | None, base: Path) -> Facts:
    """What the folder of full weights says of itself; `base`: where its licence may lie."""
    from transformers import AutoTokenizer

    named = json.loads((merged / "generation_config.json").read_text("utf-8"))["eos_token_id"]
    ids = named if isinstance(named, list) else [named]
    ends = AutoTokenizer.from_pretrained(str(merged)).convert_ids_to_tokens(ids)
    return Facts(file, context, tuple(ends), system, _licence(base))


def _licence(base: Path) -> str | None:
    """The base's own; no file that a link of somebody else's folder leads to, but for the hub's cache, which has links
    into its folder of blobs.
    """
    own = (base.resolve(), base.resolve().parent.parent / "blobs")
    for file in (base / n for n in _LICENCES if (base / n).is_file()):
        place = file.resolve()
        if any(place.is_relative_to(folder) for folder in own) and place.stat().st_size <= _LONGEST_LICENCE:
            return place.read_text("utf-8", errors="replace").strip()
    return None


def modelfile(facts: Facts, proof: TemplateProof) -> tuple[str, list[str]]:
    """The file's text, and what its user must know."""
    notes = []
    lines = [f"FROM ./{facts.file}"]
    if proof.template is None:
        notes.append(f"the Modelfile has no TEMPLATE: {proof.reason}; {WITHOUT}")
        lines += [f"# No TEMPLATE: {line}" for line in (proof.reason or "").splitlines()]
    else:
        lines.append(_quoted("TEMPLATE", proof.template))
        if proof.tools:
            notes.append(f"the TEMPLATE has no tools: {proof.tools}; {TOOLS}")
    # As it was evaluated: greedily, by nothing but the model.
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]
    lines.append(f"PARAMETER num_ctx {min(facts.context, _CONTEXT)}")
    lines += [f'PARAMETER stop "{end}"' for end in facts.ends if _holds(end) and '"' not in end]
    for name, text in (("SYSTEM", facts.system), ("LICENSE", facts.licence)):
        if text is not None and _holds(text):
            lines.append(_quoted(name, text))
        elif text is not None:
            notes.append(f"the Modelfile has no {name}: its quotes can't hold that text")
    return "\n".join(lines) + "\n", notes


def _holds(text: str) -> bool:
    """Whether the text is the same behind Ollama's reader: it drops what Go doesn't print, and has no escapes."""
    plain = all(c.isprintable() or c in "\n\t" for c in text)
    return plain and '"""' not in text and text == text.strip('"') and bool(text)


def _quoted(name: str, text: str) -> str:
    return f'{name} """{text}"""'
