"""Ollama's Modelfile: its TEMPLATE is the chat template by Go's own text/template, or there is none."""

import re
from pathlib import Path

import pytest
from support.families.families import FAMILIES, template, tokenizer
from support.families.ollama import proof_of, table
from support.golang import needs_go
from support.llama_cpp import converter
from support.tiny_model import CHATML_PLAIN
from support.tuned_models import adapted
from test_exports_folders import write

from steps.contracts.errors import TrainingDataError
from steps.contracts.models import ModelFolder
from steps.engines.exports.folder_format import Source
from steps.engines.exports.ollama import proof as proving
from steps.engines.exports.ollama.go_template import go_template, literal
from steps.engines.exports.ollama.golang import Asked, rendered_by_go
from steps.engines.exports.ollama.modelfile import Facts, _licence, modelfile
from steps.engines.exports.ollama.proof import NO_GO, TemplateProof, conversations, proven_template, renders_of
from steps.engines.exports.ollama.shape import shape_of

ROOT = Path(__file__).resolve().parents[3]
CONVERSATIONS = 77
# Families whose chat template refuses some of them; and the one whose prompts llama.cpp would change.
REFUSED = {"Gemma 2": 44, "Gemma 3": 4, "Mistral v0.3": 5}
NONE = {"Zephyr": "llama.cpp puts BOS before every prompt, which the chat template doesn't write"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_of_each_family_the_template_is_proven_or_there_is_none(name: str) -> None:
    needs_go()
    found = proof_of(FAMILIES[name])
    assert found.reason == NONE.get(name) and (found.template is None) == (name in NONE)
    if name not in NONE:
        assert found.refused == REFUSED.get(name, 0)
        assert sum(found.kinds.values()) + found.refused == CONVERSATIONS == len(conversations())


@pytest.mark.slow
def test_the_docs_have_the_table_that_the_command_prints() -> None:
    needs_go()
    assert table() in (ROOT / "docs/exports.md").read_text()


@pytest.mark.slow
def test_a_conversation_that_was_not_in_the_proof() -> None:
    needs_go()
    family = FAMILIES["Mistral v0.3"]
    special = tokenizer(family).special_tokens_map
    made = proof_of(family).template
    assert made is not None
    said = [{"role": r, "content": c} for r, c in (
        ("system", "Be brief."), ("user", "One\n\nline "), ("assistant", "\u3000a\tb \n"), ("user", "</s>"),
        ("assistant", "{{ .System }}"), ("user", "?"),
    )]  # fmt: skip
    (found,) = rendered_by_go([Asked(made, said)])
    # llama.cpp writes the BOS.
    assert f"<s>{found.text}" == renders_of(template(family), special)(said, None)
    (refused,) = rendered_by_go([Asked(made, [*said[1:4], said[0], said[5]])])
    assert refused.error is not None and "the chat template refuses this order of roles" in refused.error
    with pytest.raises(TrainingDataError):
        renders_of(template(family), special)([*said[1:4], said[0], said[5]], None)


COUNTED = "{% for m in messages %}<|im_start|>{{ loop.index }} {{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jinja", "reason"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}", "a question: character 7 is"),
        (COUNTED, "several turns: character 146 is"),
        (
            "{% for m in messages %}{{ m.content.lstrip() }}|{% endfor %}",
            "odd characters",
        ),
    ],
)
def test_what_go_can_t_say_has_no_template_and_the_first_character(jinja: str, reason: str) -> None:
    needs_go()
    found = proven_template(jinja, {}, adds_bos=False)
    assert found.template is None and found.reason is not None and found.reason.startswith(reason), found.reason


@pytest.mark.slow
def test_a_wrong_template_is_seen(monkeypatch) -> None:
    needs_go()
    monkeypatch.setattr(
        proving, "go_template", lambda shape: go_template(shape).replace("<|im_end|>", "<|im_end|> ", 1)
    )
    found = proven_template(CHATML_PLAIN, {}, adds_bos=False)
    assert found.template is None and "is another one" in (found.reason or "")


def test_without_go_no_template_is_written(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = proven_template(CHATML_PLAIN, {}, adds_bos=False)
    assert found == TemplateProof(template=None, reason=NO_GO)
    text, notes = modelfile(Facts("model-f16.gguf", 512, ("<|im_end|>",)), found)
    assert 'TEMPLATE "' not in text and f"# No TEMPLATE: {NO_GO}" in text
    assert notes[0].startswith(f"the Modelfile has no TEMPLATE: {NO_GO}; without a TEMPLATE Ollama takes")


def test_a_broken_go_leaves_no_template_and_its_words(monkeypatch, tmp_path: Path) -> None:
    broken = tmp_path / "go"
    broken.write_text("#!/bin/sh\necho no library >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = proven_template(CHATML_PLAIN, {}, adds_bos=False)
    assert found == TemplateProof(template=None, reason="Go can't render templates: no library")


def test_the_licence_is_the_base_s_own_file(tmp_path: Path) -> None:
    cache = tmp_path / "models--x"
    base = cache / "snapshots/abc"
    for folder in (base, cache / "blobs"):
        folder.mkdir(parents=True)
    assert _licence(base) is None
    (tmp_path / "secret").write_text("key")
    (base / "LICENSE").symlink_to(tmp_path / "secret")
    assert _licence(base) is None
    (cache / "blobs/1").write_text("MIT\n")
    (base / "LICENSE.txt").symlink_to("../../blobs/1")
    assert _licence(base) == "MIT"


def test_texts_that_a_modelfile_can_t_hold_as_they_are() -> None:
    assert literal("a\n b}}") == "a\n b}}"
    assert literal('{\u00a0"""\u2028"') == "".join(f'{{{{ "\\u{ord(c):04x}" }}}}' for c in '{\u00a0"""\u2028"')
    shape = shape_of(renders_of(CHATML_PLAIN.replace("<|im_start|>", '"""<|im_start|>'), {}), "")
    assert '"""' not in go_template(shape)


def test_the_modelfile_s_lines() -> None:
    proof = TemplateProof(template="{{ .Messages }}", tools="a definition: differs")
    facts = Facts("model-q8_0.gguf", 131_072, ("<|im_end|>", "</s>"), "Be brief.\nAlways.", "Apache License")
    text, notes = modelfile(facts, proof)
    assert text == (
        'FROM ./model-q8_0.gguf\nTEMPLATE """{{ .Messages }}"""\nPARAMETER temperature 0\nPARAMETER repeat_penalty 1\n'
        'PARAMETER num_ctx 8192\nPARAMETER stop "<|im_end|>"\nPARAMETER stop "</s>"\n'
        'SYSTEM """Be brief.\nAlways."""\nLICENSE """Apache License"""\n'
    )
    assert notes[0].startswith("the TEMPLATE has no tools: a definition: differs; requests with tools: since 2026")
    text, notes = modelfile(Facts("m.gguf", 512, (), 'Say """this"""', "with\x0ca page"), proof)
    assert "SYSTEM" not in text and "LICENSE" not in text and "num_ctx 512\n" in text
    assert [n[:31] for n in notes[1:]] == ["the Modelfile has no SYSTEM: it", "the Modelfile has no LICENSE: i"]


@pytest.mark.slow
def test_a_gguf_file_has_its_modelfile_beside_it(tiny_model: ModelFolder, tmp_path: Path) -> None:
    needs_go()
    source = Source(tiny_model, adapted(tiny_model, tmp_path / "adapter"))
    manifest = write(source, "gguf", tmp_path, asked=3, llama_cpp=converter(), system="Be brief.")
    assert set(manifest.files) == {"Modelfile", "model-f16.gguf"}
    text = (tmp_path / "out/Modelfile").read_text()
    assert text.startswith('FROM ./model-f16.gguf\nTEMPLATE """') and 'SYSTEM """Be brief."""' in text
    assert (
        manifest.facts["ollama"]["reason"] is None and sum(manifest.facts["ollama"]["kinds"].values()) == CONVERSATIONS
    )
    # What stands between the quotes is what was proven.
    written = re.search(r'TEMPLATE """(.*?)"""\nPARAMETER', text, re.DOTALL)
    jinja = (tiny_model.path / "chat_template.jinja").read_text()
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hello "}]
    (found,) = rendered_by_go([Asked(written[1], said)])
    assert found.text == renders_of(jinja, {})(said, None).removeprefix("<s>")
