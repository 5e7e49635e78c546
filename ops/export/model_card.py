"""What goes to a hub beside an exported model: model card, data card, and its manifest without this machine's paths."""

import json
from collections.abc import Iterator
from typing import Any

from ops.release.facts import Facts
from steps.contracts.exports import ExportManifest
from steps.contracts.models import BaseRef
from steps.register.cards import escape

MODEL_CARD, DATA_CARD = "README.md", "DATA.md"
_LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}
_RELATIONS = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}


def model_card(manifest: ExportManifest, facts: Facts) -> str:
    """Markdown; what isn't known isn't said."""
    return f"---\n{_head(manifest, facts)}---\n\n" + "\n".join(_model(manifest, facts)) + "\n"


def data_card(facts: Facts) -> str | None:
    """Markdown; None where nothing is recorded of the rows."""
    data = facts.dataset
    if data is None:
        return None
    lines = [f"# Rows that the model was trained on\n\n- version `{data.digest}`"]
    if data.rows is not None:
        splits = ", ".join(f"{escape(n)}: {c:,}" for n, c in data.splits.items())
        lines.append(f"- {data.rows:,} rows ({splits})")
    lines.append(f"- read on {escape(facts.read)}" if facts.read else "- when they were read is not recorded")
    found = facts.personal_data
    if found is None:
        lines.append("- no stage looked for personal data")
    else:
        counts = ", ".join(f"{escape(n)} {c:,}" for n, c in found.items()) or "none"
        lines.append(f"- personal data found and replaced: {counts}")
    lines.append("\n| source | kind | where | licence | consent | rows |\n| --- | --- | --- | --- | --- | --- |")
    for s in facts.sources:
        cells = [s.name, s.kind, s.location or "", s.licence or "not declared", s.consent or "not declared"]
        rows = f"{s.rows:,}" if s.rows is not None else ""
        lines.append(f"| {' | '.join(str(escape(c)) for c in cells)} | {rows} |")
    return "\n".join(lines) + "\n"


def public_manifest(manifest: ExportManifest) -> ExportManifest:
    """Without paths of this machine: of these the last part stays."""
    base = manifest.base.model_copy(update={"name": _short(manifest.base.name)}) if _local(manifest.base) else None
    update: dict[str, Any] = {"name": _short(manifest.name) if "://" not in manifest.name else manifest.name}
    return manifest.model_copy(update=update | ({"base": base} if base else {}))


def _local(base: BaseRef) -> bool:
    return base.source != "hub"


def _short(name: str) -> str:
    if not name.startswith(("/", ".", "~", "\\")) and ":\\" not in name:
        return name
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _head(manifest: ExportManifest, facts: Facts) -> str:
    """The metadata that a hub reads; JSON's texts are YAML's."""
    found: dict[str, Any] = {
        "library_name": _LIBRARIES.get(manifest.format, "transformers"), "pipeline_tag": "text-generation",
        "tags": ["assay", manifest.format],
    }  # fmt: skip
    if licence := facts.card.get("licence"):
        found["license"] = str(licence)
    if not _local(manifest.base):
        found |= {"base_model": manifest.base.name, "base_model_relation": _RELATIONS.get(manifest.format, "finetune")}
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in found.items())


def _model(manifest: ExportManifest, facts: Facts) -> Iterator[str]:
    parity, base = manifest.parity, manifest.base
    yield f"# {escape(public_manifest(manifest).name)}\n"
    yield f"- {escape(manifest.format)}, {escape(manifest.dtype)}; digest of the model `{manifest.model}`"
    revision = f", revision `{base.revision}`" if base.revision else ""
    yield f"- base: {escape(_short(base.name))}{revision}; digest `{manifest.base_digest}`"
    if facts.base_licence:
        yield f"- licence of the base, as declared: {escape(facts.base_licence)}"
    if facts.run:
        yield f"- made by run {escape(facts.run)}" + (f", commit `{facts.commit}`" if facts.commit else "")
    yield (
        f"- held against the trained model: {parity.prompts:,} prompts and {parity.texts:,} texts have the same tokens;"
        f" of {parity.tokens:,} tokens of greedy answers {parity.differ:,} are others (at most {parity.widest:.2g}"
        f" logits apart, allowed {parity.epsilon:g})"
    )
    for key, title in (("intended_use", "Intended use"), ("limitations", "Limitations")):
        if text := facts.card.get(key):
            yield f"\n## {title}\n\n{escape(text)}"
    if manifest.notes:
        yield "\n## Notes\n"
        yield from (f"- {escape(note)}" for note in manifest.notes)
    yield f"\nThe rows: {DATA_CARD}. SHA-256 of every file: export.json."
