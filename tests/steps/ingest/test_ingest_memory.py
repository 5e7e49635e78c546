"""Memory stays where it is when the file grows, and when one line is enormous."""

import json
import subprocess
import sys

import pytest

CHILD = """
import resource, sys
from pathlib import Path
from steps.contracts.context import StageContext
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest
path, out = Path(sys.argv[1]), Path(sys.argv[2])
config = IngestConfig(sources=[{"name": "s", "path": path.name}], max_line_bytes=1 << 20)
report = ingest(None, config, StageContext(out, path.parent)).report
print(report.rows_in, report.kept, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def measured(path, out):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(out)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(v) for v in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", pytest.param("a.json", marks=pytest.mark.slow)])
def test_a_line_of_200_megabytes(tmp_path, name):
    small, big = tmp_path / "small" / name, tmp_path / "big" / name
    row = json.dumps({"prompt": "q", "completion": "a"})
    for path, extra in ((small, 1 << 10), (big, 200 << 20)):
        path.parent.mkdir()
        with path.open("w") as f:
            f.write("[" if name == "a.json" else "")
            for i in range(40):
                between = ",\n" if name == "a.json" else "\n"
                f.write(row + between)
                if i == 5:
                    f.write('{"prompt": "')
                    for _ in range(extra >> 10):
                        f.write("x" * 1024)
                    f.write('", "completion": "a"}' + between)
            f.write(row + ("]" if name == "a.json" else "\n"))
    rows, kept, base = measured(small, tmp_path / "o1")
    assert (rows, kept) == (42, 42)
    rows, kept, peak = measured(big, tmp_path / "o2")
    assert (rows, kept) == (42, 41)
    assert peak - base < 40, f"{peak} MiB against {base} MiB"


@pytest.mark.slow
def test_ten_times_the_rows_need_no_more_memory(tmp_path):
    peaks = []
    for count in (200, 3000):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as f:
            for i in range(count):
                f.write(json.dumps({"prompt": f"{i} " + "words " * 2000, "completion": "a" * 500}) + "\n")
        rows, _, peak = measured(path, tmp_path / f"o{count}")
        assert rows == count
        peaks.append(peak)
    # 35 MiB more text in memory-hungry Python strings; what may grow is the one batch and the one shard in the making.
    assert peaks[1] - peaks[0] < 160, peaks
