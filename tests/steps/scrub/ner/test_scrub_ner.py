"""Models behind one call. GLiNER by a fake with its signature (0.2.29), and by itself where it is installed."""

import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import spacy

from steps.contracts.errors import ConfigError, MissingDependencyError, UnsafeSerializationError
from steps.scrub.config import NerConfig
from steps.scrub.ner.detector import OVERLAP_CHARACTERS, WINDOW_CHARACTERS, NerDetector, windows
from steps.scrub.ner.models import prompts_of


def test_windows_cover_overlap_and_end() -> None:
    for text in ("", "x", "word " * 9000, "x" * 50_001, f"a {'x' * 30_000} b", "\n" * 40_000):
        cut = list(windows(text))
        assert {i for a, b in cut for i in range(a, b)} == set(range(len(text)))
        assert all(0 < b - a <= WINDOW_CHARACTERS for a, b in cut)
        for (_, before), (after, _) in pairwise(cut):
            assert OVERLAP_CHARACTERS <= before - after <= 2 * OVERLAP_CHARACTERS


@dataclass
class FakeModel:
    """Calls capitalised words persons and `Rome` a place; cuts what is longer than max_len words, as GLiNER does."""

    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = types.SimpleNamespace(max_len=30, max_width=12)
        self.data_processor = types.SimpleNamespace(words_splitter=self._words)

    @staticmethod
    def _words(text: str) -> Iterator[tuple[str, int, int]]:
        for match in re.finditer(r"\w+(?:[-_]\w+)*|\S", text):
            yield match.group(), match.start(), match.end()

    def inference(
        self, texts: list[str], labels: list[str], flat_ner: bool = True, threshold: float = 0.5,
        multi_label: bool = False, batch_size: int = 8, **more: Any,
    ) -> list[list[dict[str, Any]]]:  # fmt: skip
        self.asked.append({"texts": texts, "labels": labels, "threshold": threshold, "batch_size": batch_size})
        return [[e for e in self._entities(t) if e["label"] in labels] for t in texts]

    def _entities(self, text: str) -> Iterator[dict[str, Any]]:
        for word, start, end in list(self._words(text))[: self.config.max_len]:
            if word[0].isupper():
                label = "location" if word == "Rome" else "person"
                yield {"start": start, "end": end, "text": word, "label": label, "score": 0.9}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeModel:
    model = FakeModel()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").touch()
    package = types.ModuleType("gliner")
    loaded: Callable[..., FakeModel] = lambda model_id, **_: model  # noqa: E731
    package.GLiNER = types.SimpleNamespace(from_pretrained=loaded)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gliner", package)
    return model


def test_gliner_reads_every_word_of_a_long_text(fake: FakeModel) -> None:
    text = "Ann went to Rome with bob and others , " * 40
    ner = NerDetector(NerConfig(engine="gliner", model="m", threshold=0.4, batch_size=4))
    first, empty = ner.find([text, ""])
    assert {(f.entity, text[f.start : f.end]) for f in first} == {("PERSON", "Ann"), ("LOCATION", "Rome")}
    assert len(first) == len(set(first)) == 80 and empty == []
    assert {f.score for f in first} == {0.9} and {f.recognizer for f in first} == {"gliner model"}
    (asked,) = fake.asked
    assert all(len(list(fake._words(t))) <= 30 for t in asked["texts"])
    assert (asked["labels"], asked["threshold"], asked["batch_size"]) == (["person", "location"], 0.4, 4)


def test_gliner_is_asked_for_the_configs_own_labels(fake: FakeModel) -> None:
    config = NerConfig(
        engine="gliner", model="m", entities=("PERSON", "STREET_ADDRESS"), labels={"home": "STREET_ADDRESS", "x": "NRP"}
    )
    assert prompts_of(config) == {"home": "STREET_ADDRESS", "person": "PERSON"}
    assert prompts_of(NerConfig(engine="gliner", model="m", entities=("NRP",)))
    assert [f.entity for f in NerDetector(config).find(["Ann in Rome"])[0]] == ["PERSON"]


def _ruler(folder: Path, *labels: str) -> str:
    nlp = spacy.blank("en")
    patterns = [{"label": label, "pattern": f"Name {n}"} for n, label in enumerate(labels)]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]
    nlp.to_disk(folder)
    return str(folder)


def test_a_models_own_labels_are_mapped_by_config_and_spelled_anyhow(tmp_path: Path) -> None:
    model = _ruler(tmp_path / "m", "Person", "City", "Birth_Place")
    settings = {"engine": "spacy", "model": model, "entities": ("PERSON", "LOCATION", "BIRTH_PLACE")}
    ner = NerDetector(NerConfig.model_validate({**settings, "labels": {"City": "LOCATION"}}))
    (found,) = ner.find(["Name 0 and Name 1 of Name 2"])
    assert [f.entity for f in found] == ["PERSON", "LOCATION", "BIRTH_PLACE"]


@pytest.mark.parametrize("labels", [("Person", "City"), ("PERSON",), tuple(f"Kind_{n}" for n in range(99))])
def test_what_a_model_can_never_find_is_told_with_its_labels(tmp_path: Path, labels: tuple[str, ...]) -> None:
    """It would count as covered otherwise, by a profile as well."""
    model = _ruler(tmp_path / "m", *labels)
    with pytest.raises(ConfigError) as told:
        NerDetector(NerConfig(engine="spacy", model=model))
    assert "stands for LOCATION" in str(told.value) and sorted(labels)[0] in str(told.value)
    assert len(str(told.value)) < 1200


def test_a_pipeline_without_entities_is_told(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "m")
    with pytest.raises(ConfigError, match="sets no entities"):
        NerDetector(NerConfig(engine="spacy", model=str(tmp_path / "m")))


def test_a_gliner_model_of_pickled_weights_is_refused(fake: FakeModel, tmp_path: Path) -> None:
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(UnsafeSerializationError, match=r"no model\.safetensors"):
        NerDetector(NerConfig(engine="gliner", model="m"))


def test_gliner_that_is_not_installed_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gliner", None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps gliner"):
        NerDetector(NerConfig(engine="gliner", model="m"))


@pytest.mark.skipif(find_spec("gliner") is None, reason="the package gliner is not installed")
def test_a_real_gliner_model_reads_every_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained, threshold 0: it calls something an entity in every window of a text longer than it reads."""
    import gliner
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "lee", "lives", "in", "rome", ".", "person"]
    base = tmp_path / "base"
    base.mkdir()
    (base / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(base / "vocab.txt"), model_max_length=64).save_pretrained(base)
    torch.manual_seed(0)
    encoder = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=16)  # fmt: skip
    BertModel(encoder).save_pretrained(base)
    settings = {"model_name": str(base), "max_len": 20, "max_width": 4, "hidden_size": 16, "dropout": 0.0,
                "span_mode": "markerV0", "subtoken_pooling": "first", "model_type": "gliner"}  # fmt: skip
    gliner.GLiNER.from_config(settings, backbone_from_pretrained=False).save_pretrained(
        tmp_path / "tagger", safe_serialization=True
    )
    text = "ann lee lives in rome . " * 30
    ner = NerDetector(NerConfig(engine="gliner", model=str(tmp_path / "tagger"), threshold=0))
    (found,) = ner.find([text])
    assert {f.entity for f in found} <= {"PERSON", "LOCATION"} and all(0 <= f.start < f.end <= len(text) for f in found)
    covered = {i for f in found for i in range(f.start, f.end)}
    assert covered >= {i for i, c in enumerate(text) if c.isalnum()}
    with pytest.raises(MissingDependencyError, match="can't be loaded"):
        NerDetector(NerConfig(engine="gliner", model=str(tmp_path / "nowhere")))
