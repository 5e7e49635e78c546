"""Which commit the running code is of: asked of git in a checkout, read from the code archive elsewhere."""

import subprocess
from pathlib import Path

# Written into the code archive, beside the code that it speaks of.
COMMIT_FILE = "COMMIT"


def commit_of(root: Path) -> str | None:
    """The commit of the code below `root`, with "+changes" when tracked files differ from it; None: nobody knows."""
    recorded = root / COMMIT_FILE
    if recorded.is_file():
        return recorded.read_text(encoding="utf-8").strip() or None
    try:
        head = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if dirty else head


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
