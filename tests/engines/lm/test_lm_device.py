import pytest
import torch

from steps.contracts.errors import ConfigError
from steps.engines.lm.device import processor, resolve_device


@pytest.mark.parametrize(("gpu", "found"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, gpu: bool, found: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert resolve_device("auto", "here") == found


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "meta:x", ""])
def test_a_device_that_cannot_hold_a_tensor_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{name}' can't be used here") as found:
        resolve_device(name, "evaluate")
    assert found.value.where == "evaluate"


def test_the_processor_of_auto_is_that_of_the_device_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processor("auto") == processor("cpu") == torch.backends.cpu.get_cpu_capability()
