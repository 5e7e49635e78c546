"""`assay release`: what the folder says, what it never says, and when there is none."""

import json
from pathlib import Path

import pytest
import yaml
from support import released_run
from support.released_run import CANARY, SECRET

from ops.release.facts import public_location
from ops.release.spdx import SPDX, hub_licence
from steps.contracts.digests import text_digest
from steps.contracts.errors import IntegrityError
from tests.ops.release.conftest import invoke, told


def document(folder, name):
    return json.loads((folder / "release" / name).read_text())


def test_the_folder_is_whole(released):
    out, made, _ = released
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert names == {*made["files"], "release/manifest.json", "release/manifest.json.sig"}
    assert {n for n in names if not n.startswith("release/")} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
        "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert (made["promoted"], made["although"], made["format"]) == (True, None, "adapter")


def test_the_bill_of_materials_is_valid(released):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    out, made, _ = released
    text = (out / "release/bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    said = json.loads(text)
    model = said["metadata"]["component"]
    assert (model["type"], model["modelCard"]["modelParameters"]["datasets"]) == (
        "machine-learning-model", [{"ref": "dataset"}],
    )  # fmt: skip
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [(m["type"], m["value"]) for m in metrics] == [("exact_match", "0.75")]
    assert [a["licenses"] for a in model["pedigree"]["ancestors"]] == [[{"license": {"id": "MIT"}}]]
    assert {p["name"]: p["hashes"][0]["content"] for p in model["components"]} == {
        n: f["sha256"] for n, f in made["files"].items() if "release/" not in n and n != "README.md"
    }
    data = next(c for c in said["components"] if c["type"] == "data")
    sources = {c["name"]: c for c in data["components"] if "licenses" in c}
    assert sources["mails"]["components"][0]["hashes"] == [{"alg": "SHA-256", "content": text_digest("mail")}]
    assert sources["pages"]["licenses"] == [{"license": {"name": "unknown"}}] and "components" not in sources["open"]
    purls = {c["purl"] for c in said["components"] if c["type"] == "library"}
    assert purls == {"pkg:pypi/torch@2.13.0%2Bcpu", "pkg:pypi/zc.lockfile@1", "pkg:pypi/a-b@2"}
    refs = [r for c in said["components"] for r in (c["bom-ref"], *(p["bom-ref"] for p in c.get("components", ())))]
    assert len(refs) == len(set(refs))


def test_known_licences_are_in_the_schema():
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    parts = [{"type": "data", "name": n, "licenses": [{"license": {"id": n}}]} for n in SPDX]
    said = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": parts}
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(said)) is None


def test_mlcroissant_reads_the_data_card(released):
    import mlcroissant as mlc

    out, _, _ = released
    card = mlc.Dataset(jsonld=str(out / "release/croissant.json"))
    assert not card.metadata.ctx.issues.errors
    sources = {r["sources/name"]: r for r in card.records("sources")}
    assert sources.keys() == {"mails", "pages", "open"}
    assert (sources["mails"]["sources/rows_read"], sources["open"]["sources/rows_read"]) == ("20", "not recorded")
    assert sources["mails"]["sources/location"] == "not recorded"
    assert sources["pages"]["sources/location"] == "https://files.example.org/pages.jsonl"
    assert card.metadata.license == ["CC-BY-4.0", "MIT", "unknown"]
    files = {f.sha256 for f in card.metadata.file_objects}
    assert {text_digest("mail"), text_digest("pages")} < files
    assert card.metadata.personal_sensitive_information[0] == (
        "Found before training: EMAIL_ADDRESS: 4. Rows changed for it: 3."
    )


def test_the_hub_reads_the_model_card(released):
    from huggingface_hub import ModelCard

    out, made, _ = released
    card = ModelCard.load(str(out / "README.md"))
    said = card.data.to_dict()
    assert (said["license"], said["library_name"], said["datasets"]) == ("apache-2.0", "peft", ["acme/pages"])
    assert said["language"] == ["de", "en"] and "base_model" not in said
    assert [(r.metric_type, r.metric_value) for r in card.data.eval_results] == [("exact_match", 0.75)]
    assert said["assay"] == {d: made[d] for d in ("model", "weights", "dataset")}
    assert "0.5 \\| &lt;b&gt;" in card.text and "English only." in card.text and "<b>" not in card.text


def test_the_summary_holds_facts_or_says_that_there_are_none(released):
    out, _, _ = released
    said = document(out, "training-content.json")
    mails, pages, _ = said["sources"]
    assert (mails["licence"], mails["bytes_read"], mails["rows_read"], mails["files"]) == ("CC-BY-4.0", 4096, 20, 1)
    assert (mails["where"], pages["bytes_read"], pages["category"]) == ("not recorded",) * 3
    assert said["general"]["languages"] == {"en": 15, "de": 5} and said["general"]["rows"] == 16
    assert said["processing"]["personal_data"] == {
        "found": {"EMAIL_ADDRESS": 4}, "rows_changed": 3, "notes": ["NER is off: .../Zap/ner"],
    }  # fmt: skip
    assert said["processing"]["unsafe_and_illegal_content"] == {"quarantined": {"self_harm": 4}}
    told_in_words = (out / "release/training-content.md").read_text()
    assert "- languages: en: 15; de: 5" in told_in_words and "- provider: not recorded" in told_in_words


def test_nothing_of_rows_places_and_secrets_is_told(released):
    out, _, run = released
    read = 0
    for file in out.rglob("*"):
        if file.is_file():
            raw = file.read_bytes()
            read += 1
            # Names of files that rows were read from may be those of people.
            for word in (CANARY, SECRET, str(run.store.parent.parent), f"{Path.home()}/", "jane.roe", "box 1"):
                assert word.encode() not in raw, (file, word)
    assert read == 19


def test_lineage_licences_and_gate(released):
    out, made, run = released
    chain = document(out, "lineage.json")
    assert [m["digest"] for m in chain["models"]][-1] == made["model"] == released_run.model_of(run).digest
    assert chain["rows"]["digest"] == made["dataset"]
    said = document(out, "licences.json")["licences"]
    assert (said["model"], said["base"]["licence"]) == ("Apache-2.0", "MIT")
    assert {s["name"]: s["licence"] for s in said["sources"]} == {
        "mails": "CC-BY-4.0", "pages": "unknown", "open": "MIT",
    }  # fmt: skip
    decided = document(out, "gate.json")
    assert decided["decision"]["promote"] and (decided["approvals"], decided["against"]) == ([], [])
    assert document(out, "export.json")["parity"]["differ"] == 0
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"].startswith("local:")


@pytest.mark.parametrize(
    ("location", "told_as"),
    [
        ("s3://bucket/a?x=1#y", "s3://bucket/a"), ("file:///home/a", None), ("~/a", None), ("C:\\a", None),
        ("a/../../b", None), ("data/a.jsonl", "data/a.jsonl"), ("", None), ("https://me@h:8/x", "https://h:8/x"),
    ],
)  # fmt: skip
def test_where_a_source_is(location, told_as):
    assert public_location(location) == told_as


def test_licences_as_the_hub_calls_them():
    assert hub_licence("Apache-2.0") == {"license": "apache-2.0"} and hub_licence("ODbL-1.0") == {"license": "odbl"}
    assert hub_licence("llama3: own") == {"license": "other", "license_name": "llama3: own"}
    assert yaml.safe_load(yaml.safe_dump(hub_licence("a: {b"))) == {"license": "other", "license_name": "a: {b"}


def refused(*arguments):
    done = invoke("release", *arguments)
    assert done.exit_code == 3, done.stderr
    assert "way out: --although REASON" in done.stderr
    return done.stderr


def test_what_the_gate_refused_needs_a_reason(state, tiny_model):
    released_run.build(state / "work", tiny_model, promote=False)
    assert "the gate didn't let it pass: gain in exact_match" in refused("run:shop", "--out", "out")
    assert "judged another model (tuned)" in refused("run:shop/base", "--out", "out")
    assert "no run is known that made it" in refused(tiny_model.path, "--out", "out")
    empty = invoke("release", "run:shop", "--out", "out", "--although", " ")
    assert empty.exit_code == 2 and not (state / "out").exists()


@pytest.mark.slow
def test_the_reason_is_kept(state, tiny_model):
    released_run.build(state / "work", tiny_model, promote=False)
    made = told("release", "run:shop", "--to", "adapter", "--out", "out", "--although", "for *tests*")
    assert (made["promoted"], made["although"]) == (False, "for *tests*")
    assert "for \\*tests\\*" in (state / "out/README.md").read_text()
    assert document(state / "out", "gate.json")["against"] == ["the gate didn't let it pass: gain in exact_match"]
    seen = invoke("verify", "out")
    assert seen.exit_code == 0 and "although something speaks against it: for *tests*" in seen.stdout

    again = invoke("release", "run:shop", "--out", "out", "--although", "for tests")
    assert again.exit_code == 2 and "there is a release already" in again.stderr


@pytest.mark.slow
def test_a_model_without_a_run_is_released_with_what_is_known(state, tiny_model):
    (tiny_model.path / "LICENSE").write_text("MIT License\n")
    try:
        made = told("release", tiny_model.path, "--out", "out", "--although", "it is our own")
    finally:
        (tiny_model.path / "LICENSE").unlink()
    assert (made["dataset"], made["promoted"]) == (None, False)
    assert (state / "out/release/licences/base/LICENSE").read_text() == "MIT License\n"
    assert str(tiny_model.path.parent) not in (state / "out/release/export.json").read_text()
    assert told("verify", "out")["ok"]
    # A release is a model's folder as any other.
    told("release", "out", "--out", "again", "--although", "so")
    assert told("verify", "again")["ok"]
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (state / "out/release/bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    import mlcroissant as mlc

    assert not mlc.Dataset(jsonld=str(state / "out/release/croissant.json")).metadata.ctx.issues.errors


@pytest.mark.slow
def test_people_must_have_approved_where_that_is_asked(state, tiny_model):
    uri = f"sqlite:///{state}/ml.db"
    run = released_run.build(state / "draft", tiny_model)
    made = released_run.registered(released_run.model_of(run).digest, uri, approvals=2)
    settings = {"promotion": "manual", "approvals": 2}
    released_run.build(state / "work", tiny_model, registration=made, registry=settings)
    assert "0 of 2 approvals" in refused("run:shop", "--out", "out")
    for name in ("ada", "ada"):
        assert invoke("approve", f"{uri}#shop/1", "--why", "read <it>", "--by", name).exit_code == 0
    assert "1 of 2 approvals (ada)" in refused("models:/shop@candidate", "--out", "out")
    assert invoke("approve", f"{uri}#shop/1", "--why", "so", "--by", "bo").exit_code == 0
    told("release", "models:/shop@candidate", "--to", "adapter", "--out", "out")
    said = document(state / "out", "gate.json")
    assert [a["by"] for a in said["approvals"]] == ["ada", "ada", "bo"] and said["registered"] == "shop/1"
    assert "read &lt;it&gt;" in (state / "out/README.md").read_text()
    (state / "ml.db").unlink()
    assert (
        "the registry of shop/1 can't be read" in refused("run:shop", "--out", "more") and not (state / "more").exists()
    )


@pytest.mark.slow
def test_weights_that_aren_t_the_model_are_no_release(state, tiny_model, monkeypatch):
    from steps.engines.exports.adapter import Adapter

    released_run.build(state / "work", tiny_model)
    write = Adapter.write

    def turned(self, source, folder, options, scratch):
        from safetensors.torch import load_file, save_file

        done = write(self, source, folder, options, scratch)
        weights = load_file(folder / "adapter_model.safetensors")
        save_file(
            {k: -v if "lora_B" in k else v for k, v in weights.items()},
            folder / "adapter_model.safetensors",
            {"format": "pt"},
        )
        return done

    monkeypatch.setattr(Adapter, "write", turned)
    done = invoke("release", "run:shop", "--to", "adapter", "--out", "out", "--although", "no matter")
    assert done.exit_code == IntegrityError.exit_code and "the export isn't the model that was trained" in done.stderr
    assert not (state / "out").exists() and not list(state.glob(".assay*"))


def test_damaged_evidence_is_no_release(state, tiny_model):
    run = released_run.build(state / "work", tiny_model)
    file = run.store / "scrub_step/scrub_report/report.json"
    file.write_text(file.read_text().replace('"changed":3', '"changed":0'))
    done = invoke("release", "run:shop", "--to", "adapter", "--out", "out")
    assert done.exit_code == 7 and "scrub_report/report.json" in done.stderr and not (state / "out").exists()


def valid(folder):
    """Documents as the programs that they are for read them; returns the card's metadata."""
    import mlcroissant as mlc
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from huggingface_hub import ModelCard

    text = (folder / "release/bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert not mlc.Dataset(jsonld=str(folder / "release/croissant.json")).metadata.ctx.issues.errors
    return ModelCard.load(str(folder / "README.md")).data.to_dict()


@pytest.mark.slow
def test_hostile_words_stay_words(state, tiny_model):
    licence = "a\n---\nassay: {}\n<script>alert(1)</script> | \u202e [x](http://x) {{ 7777777 * 3 }} {% raw %}"
    words = {"licence": licence, "limitations": [licence], "intended_use": licence}
    released_run.build(state / "work", tiny_model, registry=words, promote=False)
    told("release", "run:shop", "--to", "adapter", "--out", "out", "--although", licence)
    said = valid(state / "out")
    assert (said["license"], said["license_name"]) == ("other", licence)
    assert told("verify", "out")["ok"]
    card = (state / "out/README.md").read_text().partition("\n---\n")[2]
    assert "<script>" not in card and "23333331" not in card and "\u202e" not in card and "\n---\n" not in card
    shown = invoke("verify", "out").stdout
    assert "\u202e" not in shown and "released although" in shown


@pytest.mark.slow
def test_a_folder_of_any_name(state, tiny_model):
    import shutil

    folder = state / "a|b <i>\n{{x}} \u00e9 \u202e--- #"
    shutil.copytree(tiny_model.path, folder)
    told("release", folder, "--out", "out", "--although", "so")
    assert valid(state / "out")["assay"]["dataset"] is None
    assert told("verify", "out")["ok"]
