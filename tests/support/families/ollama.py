"""The table of docs/exports.md: which chat templates of the 16 families can be said in Ollama's template language.

PYTHONPATH=tests python -m support.families.ollama
"""

from support.families.families import FAMILIES, Family, template, tokenizer

from steps.engines.exports.ollama.proof import TemplateProof, proven_template
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import in_force, without_clock


def proof_of(family: Family) -> TemplateProof:
    """Of the published template, with the date that a run without one has."""
    config = TemplateConfig()
    text = without_clock(in_force(template(family), config), config)
    return proven_template(text, tokenizer(family).special_tokens_map, adds_bos=family.writes_bos)


def table() -> str:
    """One line for each family."""
    lines = ["| family | TEMPLATE | the same text | refused by both | tools |", "| --- | --- | --- | --- | --- |"]
    for name, family in FAMILIES.items():
        found = proof_of(family)
        written = "written" if found.template else f"none: {found.reason}"
        tools = (found.tools or "the chat template has none").replace("|", "\\|")
        cells = [name, written, str(sum(found.kinds.values())), str(found.refused), tools if found.template else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
