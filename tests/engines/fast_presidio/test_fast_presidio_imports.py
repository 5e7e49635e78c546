"""What is imported, seen in a fresh process."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import spacy

from steps.engines.fast_presidio.imports import patterns_only

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import json, sys

import pytest
from steps.scrub.config import NerConfig, ScrubConfig
from steps.scrub.detectors import Detectors
from steps.engines.fast_presidio.imports import models_need_a_process

def heavy():
    return [name for name in ("torch", "transformers") if name in sys.modules]

if __name__ == "__main__":
    with Detectors(ScrubConfig()) as detectors:
        found = detectors.find(["mail a@example.org"])
    before = heavy()
    import torch
    config = ScrubConfig(ner=NerConfig(engine="spacy", model=sys.argv[1], entities=("PERSON",)))
    with Detectors(config) as detectors:
        named = detectors.find(["Ann Lee has a@example.org"])
    print(json.dumps([before, torch.__name__, models_need_a_process(), list(found.values()), list(named.values())]))
"""


@pytest.mark.slow
def test_patterns_need_no_torch_and_models_get_it_still(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ann Lee"}])
    nlp.to_disk(tmp_path / "model")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "model")],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    before, torch, apart, found, named = json.loads(done.stdout.splitlines()[-1])
    assert before == [] and torch == "torch"
    assert apart  # so that a model is run by a process that has imported torch
    assert [(f[2], f[0]) for f in found[0]] == [("EMAIL_ADDRESS", 5)]
    assert sorted((f[2], f[0]) for f in named[0]) == [("EMAIL_ADDRESS", 12), ("PERSON", 0)]


def test_other_threads_import_as_ever() -> None:
    seen: list[bool] = []

    def elsewhere() -> None:
        finder = sys.meta_path[0]
        seen.append(finder.find_spec("torch", None) is None)

    with patterns_only():
        try:
            sys.meta_path[0].find_spec("torch", None)
        except ModuleNotFoundError as error:
            seen.append(error.name == "torch")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen == [True, True]
    assert not any(type(finder).__name__ == "_Hidden" for finder in sys.meta_path)
