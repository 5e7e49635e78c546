"""A model that is measured as it will be served: its GGUF export answers, in the real llama.cpp."""

import json
import os
import signal
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.llama_cpp import converter
from support.processes import children
from support.tuned_models import adapted
from test_evaluate_prompted import dataset  # noqa: F401 - the fixture

from steps.contracts.errors import AssayError, MissingDependencyError, ServiceError
from steps.contracts.evaluation import Evaluation
from steps.contracts.models import ModelFolder
from steps.engines.completions.config import EngineConfig
from steps.engines.lm.kept import KeptAnswers
from steps.engines.subjects.exported_answers import ExportedAnswers
from steps.engines.subjects.local_model import Inference, local_model
from steps.engines.subjects.subject import Prompt
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.measure import UNDER_WAY, measure
from steps.evaluate.subject_config import SubjectConfig
from steps.gate.gate import compare

CPU = Inference(device="cpu")
F32, Q8 = EngineConfig(dtype="f32"), EngineConfig(dtype="q8_0", parallel=2)
PROMPTS = [Prompt(f"<|im_start|>user\nWhat is {n}? 漢字<|im_end|>\n<|im_start|>assistant\n", "x") for n in range(9)]


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_LLAMA_CPP", str(converter()))


@pytest.fixture(scope="module")
def tuned(tiny_model: ModelFolder, tmp_path_factory) -> ModelFolder:
    return adapted(tiny_model, tmp_path_factory.mktemp("adapter"))


def answers(base: ModelFolder, tuned: ModelFolder, folder: Path, engine: EngineConfig | None, room: int | None = 12):
    with local_model("any", base, tuned, CPU, folder / UNDER_WAY, engine, folder) as subject:
        return subject.answer(PROMPTS, room), subject.decoding


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_an_f32_export_says_what_the_model_says(tiny_model, tuned, tmp_path) -> None:
    expected, decoding = answers(tiny_model, tuned, tmp_path, None)
    found, own = answers(tiny_model, tuned, tmp_path, F32)
    assert found.texts == expected.texts and len(set(found.texts)) > 5
    assert (found.tokens, found.cut) == (expected.tokens, expected.cut)
    assert own == {**decoding, "exported": own["exported"]}
    assert own["exported"] | {"version": ""} == {"program": "llama.cpp", "version": "", "dtype": "f32", "parallel": 1}
    assert len(found.notes) == 1 and found.notes[0].startswith("answered by its export ")
    many, _ = answers(tiny_model, tuned, tmp_path, Q8, 40)
    assert len(many.texts) == 9 and many.tokens.answers == 9 * 40
    assert not [p for p in tmp_path.rglob("*") if p.is_file()], "the export goes"


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_a_llama_cpp_that_dies_ends_the_evaluation_which_goes_on_where_it_was(
    tiny_model, tuned, tmp_path, monkeypatch
) -> None:
    expected, _ = answers(tiny_model, tuned, tmp_path, F32)
    add, kept, others = KeptAnswers.add, [], children()

    def killing(self, ids, room, said) -> None:
        add(self, ids, room, said)
        kept.append(said)
        if len(kept) == 4:
            (engine,) = children() - others
            os.kill(engine.pid, signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(KeptAnswers, "add", killing)
        with pytest.raises(ServiceError, match="the engine"):
            answers(tiny_model, tuned, tmp_path, F32)
    assert children() == others
    asked: list[int] = []
    ask = ExportedAnswers.answers

    def counted(self, prompts, rooms, ends, there):
        asked.extend(there.get(ids, room) is None for ids, room in zip(prompts, rooms, strict=True))
        return ask(self, prompts, rooms, ends, there)

    monkeypatch.setattr(ExportedAnswers, "answers", counted)
    found, _ = answers(tiny_model, tuned, tmp_path, F32)
    assert found.texts == expected.texts and found.tokens.at_hand == 4 and sum(asked) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("llama")
def test_the_table_of_a_model_and_its_export(tiny_model, tuned, tmp_path, dataset) -> None:  # noqa: F811
    config = EvaluateConfig(metrics=("exact_match",), device="cpu", max_new_tokens=8)
    subject = SubjectConfig(name="tuned_q8", model="tuned", engine=EngineConfig(dtype="q8_0"))

    def measured(name: str, config: EvaluateConfig, asked: SubjectConfig | None) -> Evaluation:
        folder = tmp_path / name
        folder.mkdir()
        return measure(name, tiny_model, tuned, dataset, config, tmp_path, folder, tmp_path / "cache", asked)

    plain = measured("tuned", config, None)
    exported = measured("tuned_q8", config, subject)
    whole = measured("all_q8", config.model_copy(update={"engine": EngineConfig(dtype="q8_0")}), None)
    found = compare(plain, [exported, whole])
    assert {d.metric for d in found.differences if d.subject == "tuned_q8"} >= {"exact_match"}
    assert "loss" in {d.metric for d in found.differences if d.subject == "all_q8"}
    for one in (exported, whole):
        assert json.loads(one.report.decoding)["exported"]["dtype"] == "q8_0"
        assert any("answered by its export" in note for note in one.report.notes)
    names = {p.name for p in tmp_path.rglob("*") if p.is_file() and "v1" not in p.parts and "v2" not in p.parts}
    assert names == {"answers.parquet"}


def test_what_an_engine_does_not_do_is_refused(tiny_model, tmp_path, monkeypatch) -> None:
    with pytest.raises(ValidationError, match="an engine answers greedily and nothing else"):
        EvaluateConfig(engine=F32, decoding={"repetition_penalty": 1.2})
    with pytest.raises(ValidationError, match="the tasks of lm_eval are asked by transformers"):
        EvaluateConfig(engine=F32, lm_eval={"tasks": ["arc_easy"]})
    endpoint = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    with pytest.raises(ValidationError, match="an endpoint answers, or an export: not both"):
        SubjectConfig(name="x", endpoint=endpoint, engine=F32)
    monkeypatch.delenv("ASSAY_LLAMA_CPP", raising=False)
    with pytest.raises(AssayError) as found, local_model("any", tiny_model, None, CPU, None, F32, tmp_path):
        pass
    assert isinstance(found.value, MissingDependencyError) and not list(tmp_path.iterdir())
