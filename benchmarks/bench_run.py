"""The quickstart: two cold runs and one cached, each as a process of its own.

Wanted on two CPU cores: cold under 6 minutes and 200 CPU seconds, cached under 20 s, peak under 3 GB; the two cold
runs give the same dataset and weight digests.
"""

import json
import tempfile
from pathlib import Path

from measure import assay, finish

CONFIG = "configs/runs/quickstart.yaml"


def digests(record: dict[str, object]) -> dict[str, str]:
    kinds = ("dataset", "model")
    return {a["name"]: a["digest"] for a in record["artifacts"] if a["type"] in kinds}  # type: ignore[attr-defined]


def main() -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first = assay("run", CONFIG, "--json", state=Path(one))
        print(f"cold    {first.seconds:7.1f} s  {first.cpu_seconds:7.1f} CPU s  {first.peak_mb:7.0f} MB")
        cached = assay("run", CONFIG, "--json", state=Path(one))
        print(f"cached  {cached.seconds:7.1f} s  {cached.cpu_seconds:7.1f} CPU s  {cached.peak_mb:7.0f} MB")
        second = assay("run", CONFIG, "--json", state=Path(two))
        print(f"cold    {second.seconds:7.1f} s  {second.cpu_seconds:7.1f} CPU s  {second.peak_mb:7.0f} MB")
    a, b, c = (json.loads(r.stdout) for r in (first, second, cached))
    for name, digest in sorted(digests(a).items()):
        print(f"{name:20} {digest[:32]} {'same' if digests(b)[name] == digest else 'DIFFERENT'}")
    finish(
        "run",
        {
            "cold_seconds": [round(first.seconds, 1), round(second.seconds, 1)],
            "cold_cpu_seconds": [round(first.cpu_seconds, 1), round(second.cpu_seconds, 1)],
            "peak_mb": round(max(first.peak_mb, second.peak_mb)),
            "cached_seconds": round(cached.seconds, 1),
            "cached_cpu_seconds": round(cached.cpu_seconds, 1),
            "registered": a["registration"]["status"],
        },
        {
            "cold under 360 s": max(first.seconds, second.seconds) < 360,
            "cold under 200 CPU s": max(first.cpu_seconds, second.cpu_seconds) < 200,
            "cached under 20 s": cached.seconds < 20 and not c["executed_steps"],
            "peak under 3 GB": max(first.peak_mb, second.peak_mb) < 3_000,
            "same digests": digests(a) == digests(b),
            "promoted": a["registration"]["status"] == "champion",
        },
    )


if __name__ == "__main__":
    main()
