"""Libraries that are left out at the start, and come when they are needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from steps.engines.imports.absent import absent

ROOT = Path(__file__).resolve().parents[3]


def said_by(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_package_is_absent_within_and_there_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left_out.py").write_text("VALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    with absent("left_out"), pytest.raises(ModuleNotFoundError, match="No module named 'left_out'"):
        import left_out  # type: ignore[import-not-found]
    import left_out

    assert left_out.VALUE == 3


def test_kernels_run_without_scipy_which_can_be_imported_after() -> None:
    code = """
import sys
from steps.engines.imports.compiler import njit
print(njit(lambda n: n + 1)(1), "scipy.linalg" in sys.modules, "coverage" in sys.modules)
import scipy.linalg
print(scipy.linalg.det([[2.0]]))
"""
    assert said_by(code) == ["2", "False", "False", "2.0"]


def test_arrow_makes_arrays_without_pandas_and_frames_with_it() -> None:
    code = """
import sys
from steps.engines.imports.arrow import leave_pandas
leave_pandas()
import pyarrow as pa
print(pa.array([1, None]).null_count, "pandas" in sys.modules)
print(pa.table({"a": [1, 2]}).to_pandas()["a"].sum())
import pandas
print(pa.array(pandas.Series([1.5, float("nan")])).null_count)
"""
    assert said_by(code) == ["1", "False", "3", "1"]
