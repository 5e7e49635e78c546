"""Exported folders, loaded back by MLflow alone."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.tuned_models import adapted, full_weights
from transformers import GenerationConfig

from steps.contracts.errors import IntegrityError
from steps.contracts.evaluation import STOP_TOKEN_IDS
from steps.contracts.models import PICKLE_SUFFIXES, BaseRef, ModelFolder
from steps.contracts.records import make_row, message
from steps.engines.exports.export import Decoding, Exported, check_parity
from steps.engines.exports.pyfunc import requirements, served_config
from steps.engines.exports.registry import EXPORTS
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.folder import model_files, model_folder
from steps.engines.subjects.local_model import Inference, local_model

INFERENCE = Inference(batch_size=3, dtype="float32", num_threads=1, device="cpu")
DECODING = Decoding(12, 3, "float32", 1, INFERENCE.decoding.in_force(), [2], 16_384)
QUESTIONS = [f"What is {n}? The sky?" + " and" * n for n in range(7)]
CONVERSATIONS = [[{"role": "user", "content": q}] for q in QUESTIONS]


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory) -> Exported:
    model = adapted(tiny_model, tmp_path_factory.mktemp("adapter"))
    return Exported(model, tiny_model, str(tiny_model.path), DECODING, tags={"commit": "abc"}, requirements=("boto3",))


def answers_of(exported: Exported, decoding: DecodingConfig = INFERENCE.decoding) -> list[str]:
    """What the model says as it is evaluated."""
    rows = [
        make_row(
            kind="conversation", source="s", locator=f"line:{n}", raw=question.encode(),
            messages=[message("user", question), message("assistant", "blue")],
        )
        for n, question in enumerate(QUESTIONS)
    ]  # fmt: skip
    inference = replace(INFERENCE, decoding=decoding)
    with local_model("any", exported.base, exported.model, inference) as subject:
        assert subject.decoding[STOP_TOKEN_IDS] == exported.decoding.stop_token_ids
        said = subject.answer([p for p in subject.prompts(rows).prompts if p], DECODING.max_new_tokens).texts
    assert len(set(said)) > 3
    return [text or "" for text in said]


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.slow
def test_an_exported_folder_gives_the_evaluated_answers_in_a_fresh_process(adapter, name, tmp_path) -> None:
    folder = EXPORTS[name].write(adapter, tmp_path / "export")
    check_parity(EXPORTS[name], str(folder), CONVERSATIONS, answers_of(adapter), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_trained_ends_and_the_decoding_asked_for_go_along_and_nothing_else(adapter, name, tmp_path) -> None:
    decoding = DecodingConfig(repetition_penalty=1.3)
    folder = shutil.copytree(adapter.model.path, tmp_path / "adapter")
    GenerationConfig(eos_token_id=[2, 90], no_repeat_ngram_size=1, suppress_tokens=list(range(40))).save_pretrained(
        folder
    )
    info = adapter.model.info
    model = model_folder(folder, kind="adapter", base=info.base, parameters=info.parameters, trainable=1)
    exported = replace(
        adapter, model=model, decoding=replace(DECODING, generation=decoding.in_force(), stop_token_ids=[2, 90])
    )
    expected = answers_of(exported, decoding)
    assert expected != answers_of(adapter)
    check_parity(
        EXPORTS[name], str(EXPORTS[name].write(exported, tmp_path / "export")), CONVERSATIONS, expected, tmp_path
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_full_weights_need_no_base(adapter, name, tmp_path) -> None:
    whole = replace(adapter, model=full_weights(adapter.base, adapter.model, tmp_path / "full"))
    folder = EXPORTS[name].write(replace(whole, base_location="/nowhere"), tmp_path / "export")
    check_parity(EXPORTS[name], str(folder), CONVERSATIONS, answers_of(whole), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_that_answers_otherwise_is_refused(adapter, name, tmp_path) -> None:
    folder = EXPORTS[name].write(adapter, tmp_path / "export")
    expected = answers_of(adapter)
    expected[2] += "!"
    with pytest.raises(IntegrityError, match="1 of 7 answers are not the evaluated ones, the first is number 3"):
        check_parity(EXPORTS[name], str(folder), CONVERSATIONS, expected, tmp_path)


@pytest.mark.slow
def test_an_export_with_a_changed_byte_is_refused(adapter, tmp_path) -> None:
    folder = EXPORTS["pyfunc"].write(adapter, tmp_path / "export")
    (weights,) = folder.rglob("adapter_model.safetensors")
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"doesn't answer: .*adapter_model\.safetensors changed"):
        check_parity(EXPORTS["pyfunc"], str(folder), CONVERSATIONS, [""] * len(QUESTIONS), tmp_path)


def test_nothing_of_the_base_and_no_pickle_is_written(adapter, tmp_path) -> None:
    folder = EXPORTS["pyfunc"].write(adapter, tmp_path / "export")
    files = [Path(at) / name for at, _, names in os.walk(folder) for name in names]
    assert [f.name for f in files if f.suffix == ".safetensors"] == ["adapter_model.safetensors"]
    assert {"served.py", "MLmodel", "requirements.txt"} <= {f.name for f in files}
    assert not [f for f in files if f.suffix in PICKLE_SUFFIXES]
    assert not [f for f in files if f.stat().st_mode & 0o177], "closed, whatever the mode of the code in the checkout"


def test_the_served_file_digests_a_folder_as_the_project_does(tmp_path) -> None:
    """It repeats the list of pickle suffixes, since it runs where the project isn't installed."""
    from steps.engines.exports.served import _digests

    for suffix in (".safetensors", ".json", ".txt", *PICKLE_SUFFIXES):
        (tmp_path / f"file{suffix}").write_text(suffix)
    assert _digests(tmp_path) == model_files(tmp_path)
    assert set(model_files(tmp_path)) == {"file.safetensors", "file.json", "file.txt"}


def test_requirements_are_pinned_to_public_versions(adapter) -> None:
    found = requirements(adapter)
    assert found[-1] == "boto3" and not [r for r in found if "+" in r]
    assert all("==" in r for r in found[:-1])
    assert {"torch", "transformers", "peft", "mlflow"} <= {r.split("==")[0] for r in found}
    for url, client in (("gs://b/x", "gcsfs"), ("s3://b/x", "s3fs")):
        assert client in {r.split("==")[0] for r in requirements(replace(adapter, base_location=url))}


def test_a_hub_base_is_only_a_reference(adapter) -> None:
    ref = BaseRef(source="hub", name="org/base", revision="f" * 40)
    info = adapter.base.info.model_copy(update={"base": ref, "files": {}})
    made = served_config(replace(adapter, base=ModelFolder(info, None), base_location="org/base"))
    assert (made["base_source"], made["base_name"], made["base_revision"], made["base_files"]) == (
        "hub", "org/base", "f" * 40, {}
    )  # fmt: skip
