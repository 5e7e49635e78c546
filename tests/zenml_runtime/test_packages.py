"""The list of packages that ZenML stores with a run."""

from importlib.metadata import version

import pytest

from steps.zenml_runtime.packages import list_packages_here


def test_zenml_lists_what_is_installed_without_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    from zenml.environment import Environment

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("no process is needed")

    list_packages_here()
    monkeypatch.setattr(subprocess, "check_output", refused)
    listed = Environment.get_python_packages()
    assert f"zenml=={version('zenml')}" in listed
    assert listed == sorted(set(listed), key=str.lower)
    assert all(len(line.split("==")) == 2 for line in listed)
