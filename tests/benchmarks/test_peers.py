"""Each peer really removes copies: a benchmark against one that does nothing would say nothing."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from measure import ROOT, peer

MODES = [("datasketch", "generator"), ("datasketch", "xxhash"), ("datasketch", "update_batch"),
         ("rensa", "rminhash"), ("rensa", "cminhash"), ("daft", "normalize"), ("daft", "words")]  # fmt: skip

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-peers" / "bin" / "python").is_file(), reason="no .venv-peers; `make peers` makes it"
)


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_a_peer_keeps_one_of_each_group_of_copies(tmp_path, name, mode):
    rng = random.Random(5)
    originals = [" ".join(rng.choices([f"w{i}" for i in range(5_000)], k=60)) for _ in range(40)]
    texts = originals + [t.upper() for t in originals[:10]]
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), tmp_path / "rows.parquet")
    cost = peer(name, mode, tmp_path / "rows.parquet", tmp_path / "keep.npy")
    keep = np.load(tmp_path / "keep.npy")
    assert json.loads(cost.stdout) == {"tool": name, "mode": mode, "rows": 50, "kept": 40}
    assert keep.shape == (50,) and all(keep[i] + keep[40 + i] == 1 for i in range(10)) and keep[10:40].all()
