import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import measure
from measure import measured

BURN = "import time; t = time.process_time()\nwhile time.process_time() < t + {s}: pass\n"
HOLD = "b = bytearray({mb} << 20); b[::4096] = b'x' * len(b[::4096])\n" + BURN.format(s=0.5)


def test_cpu_of_children_counts_and_output_comes_back():
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN.format(s=0.5)!r}]); print('done')"
    cost = measured([sys.executable, "-c", code])
    assert cost.stdout == "done\n" and 0.5 <= cost.cpu_seconds < 2.5 and cost.seconds >= 0.5


def test_memory_is_the_commands_own_and_the_trees(monkeypatch):
    monkeypatch.setattr(measure, "_SAMPLE_SECONDS", 0.02)
    ballast = bytearray(300 << 20)  # ours: it must not be counted
    ballast[::4096] = b"x" * len(ballast[::4096])
    child = HOLD.format(mb=60)
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}])\n{child}\np.wait()"
    cost = measured([sys.executable, "-c", code])
    assert 60 < cost.peak_mb < 110 and 120 < cost.tree_mb < 220
    assert len(ballast) == 300 << 20


def test_a_command_that_fails_is_said():
    with pytest.raises(SystemExit, match="ended with status 3"):
        measured([sys.executable, "-c", "raise SystemExit(3)"])
