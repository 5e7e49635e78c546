"""Files as people have them through four loaders: assay's, and those of TRL, axolotl and LLaMA-Factory.

`make bench-rows` prints one table: read (every row as it must be), refused (with the cause that the tool gives), or
misread (a row lost without a word, changed, or trained where it must not be). The files are in `rows.py`.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from measure import ROOT
from rows import CASES, Case, Truth, Turn, write_all

TOOLS = ("trl", "axolotl", "llamafactory")
_PYTHON = ROOT / ".venv-loaders" / "bin" / "python"
# Chosen: a cell of the table that can be read.
_WHY_CHARS = 100
_MARKS = re.compile(r"<\|[^|>]*\|>|</?think>|</?call>|\s+")


@dataclass(frozen=True)
class Found:
    """What a loader made of a file: "read", "refused" or "misread", and a word on it."""

    outcome: str
    why: str = ""

    def __str__(self) -> str:
        why = textwrap.shorten(self.why, _WHY_CHARS, placeholder=" ...")
        return f"{self.outcome}: {why}" if why else self.outcome


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = write_all(Path(folder) / "files")
        found = {"assay": [ours(case, files[case.file], Path(folder) / "out") for case in CASES]}
        for tool in TOOLS:
            found[tool] = theirs(tool, files, Path(folder))
    print(table(found))


def ours(case: Case, file: Path, out: Path) -> Found:
    """`assay stage ingest FILE`, as a process of its own."""
    command = [sys.executable, "-m", "ops.main", "stage", "ingest", str(file), "--out", str(out / case.file)]
    command += ["--ingest", "max_reject_share=0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return Found("refused" if done.returncode != 1 else "misread", " ".join(said)[:200])
    rows = pq.read_table(out / case.file / "kept.parquet").to_pylist()
    kept_aside = out / case.file / "rejects.jsonl"
    rejects = [json.loads(r) for r in kept_aside.read_text().splitlines()] if kept_aside.exists() else []
    if len(rejects) != case.lost:
        return Found("misread", f"{len(rejects)} rejects, not {case.lost}")
    made = as_truth(rows)
    wrong = [n for n, (a, b) in enumerate(zip(made, case.rows, strict=False)) if a != b]
    if len(made) != len(case.rows) or wrong:
        return Found("misread", f"{len(made)} of {len(case.rows)} rows, wrong: {wrong[:3]}")
    return Found("read", "; ".join(sorted({f"1 row refused: {r['reason']}" for r in rejects})))


def as_truth(rows: list[dict[str, Any]]) -> list[Truth]:
    """Records of ours as what they would be trained on, in the order of the file."""
    return [_ours(row) for row in sorted(rows, key=lambda r: [int(n) for n in re.findall(r"\d+", r["locator"])])]


def _ours(row: dict[str, Any]) -> Truth:
    turns = tuple(_turn(m) for m in row["messages"])
    if row["kind"] == "preference":
        sides = [" ".join(m["content"] for m in row[side]) for side in ("chosen", "rejected")]
        return Truth(turns, *sides)
    return Truth(turns, label=row["label"])


def _turn(m: dict[str, Any]) -> Turn:
    trained = m["role"] == "assistant" and m["weight"] != 0
    functions = [c["function"] for c in json.loads(m["tool_calls"] or "[]")]
    calls = tuple((f["name"], json.dumps(json.loads(f["arguments"]))) for f in functions)
    return Turn(m["role"], m["content"], trained, m["reasoning"] or "", calls)


def theirs(tool: str, files: dict[str, Path], folder: Path) -> list[Found]:
    """Another tool's loading code over all files, in one process of its environment."""
    jobs = [{"file": c.file, "path": str(files[c.file]), "shape": c.shape, "settings": c.settings} for c in CASES]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    done = subprocess.run(
        [_PYTHON, ROOT / "benchmarks" / "peers" / "loaders.py", tool, folder / "jobs.json"],
        capture_output=True, text=True, check=False, env={**os.environ, **offline},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{tool}: {done.stderr[-2000:]}")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [judged(case, answer) for case, answer in zip(CASES, answers, strict=True)]


def judged(case: Case, answer: dict[str, Any]) -> Found:
    """What a tool's answer is worth, held against the truth."""
    if "error" in answer:
        return Found("refused", answer["error"])
    made = answer["rows"]
    if not made and answer["skipped"]:
        return Found("refused", "every row skipped, which its log says")
    if len(made) != len(case.rows):
        extra = "; one that must be refused is among them" if len(made) > len(case.rows) and case.lost else ""
        return Found("misread", f"{len(made)} rows, {len(case.rows)} are right{extra}")
    for row, truth in zip(made, case.rows, strict=True):
        why = _difference(row, truth)
        if why:
            return Found("misread", why)
    return Found("read")


def _difference(row: dict[str, Any], truth: Truth) -> str:
    spans = [(s if isinstance(s, str) else json.dumps(s), trained) for s, trained in row["spans"]]
    trained = _plain("".join(s for s, t in spans if t))
    context = _plain("".join(s for s, t in spans if not t))
    if truth.chosen:
        if (_answer(row["chosen"]), _answer(row["rejected"])) != (_plain(truth.chosen), _plain(truth.rejected)):
            return "chosen and rejected are other texts"
        whole = context + trained
        return "" if all(_plain(t.text) in whole for t in truth.turns) else "the prompt isn't whole"
    if row.get("label") != truth.label:
        return "the label is lost"
    for turn in truth.turns:
        if not turn.trained and _plain(turn.text) in trained:
            return f"trained: {turn.text}"
        for text in (turn.text, turn.reasoning, *(_plain(a) for call in turn.calls for a in call)):
            if _plain(text) not in (trained if turn.trained else context):
                return f"lost or not trained: {text}" if turn.trained else f"lost from the prompt: {text}"
    wanted = sum(len(_plain(t.text + t.reasoning)) for t in truth.turns if t.trained)
    calls = any(t.calls for t in truth.turns)
    return "" if calls or len(trained) == wanted else "more is trained than the answers"


def _plain(text: str) -> str:
    """Without template marks, white space and escapes."""
    return _MARKS.sub("", text).replace("\\", "")


def _answer(side: Any) -> str:
    if isinstance(side, list):
        side = side[-1]
    return _plain(side["content"] if isinstance(side, dict) else side)


def table(found: dict[str, list[Found]]) -> str:
    """Markdown: a row per file, and the sums."""
    head = ["file", "what is in it", *found]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for number, case in enumerate(CASES):
        cells = [str(found[tool][number]).replace("|", "\\|").replace("\n", " ") for tool in found]
        lines.append(f"| `{case.file}` | {case.what} | {' | '.join(cells)} |")
    for outcome in ("read", "refused", "misread"):
        counts = [str(sum(f.outcome == outcome for f in found[tool])) for tool in found]
        lines.append(f"| **{outcome}** | of {len(CASES)} | {' | '.join(counts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
