"""Where each kind of artifact has its files: below its own folder, or shared below the store's root.

The materializers write and read them so, and `artifacts.py` reads them without ZenML. Every artifact has one main file,
which names or holds all else; the SHA-256 of its bytes stands beside it (`CHECKSUM`, `ABOUT` for a file artifact), and
in the artifact's metadata under `SHA256`, from where the run's record has it.
"""

# Main files. The manifest: of datasets, row caches, cached embeddings, dedup indexes and exports.
MANIFEST = "manifest.json"
LEDGER = "ledger.parquet"
ANSWERS = "answers.parquet"
REPORT = "report.json"
VALUE = "value.json"
MODEL = "model.json"
# By the type of the artifact; of the other types VALUE. A file artifact's has a name of its own.
MAIN = {
    "dataset": MANIFEST,
    "row_cache": MANIFEST,
    "embeddings": MANIFEST,
    "index": MANIFEST,
    "ledger": LEDGER,
    "answers": ANSWERS,
    "stage_report": REPORT,
    "model": MODEL,
    "exports": MANIFEST,
}

# Below the store's root, with a folder per run: the records that runs' last steps keep.
RECORDS = "finish_step/run_record"

# What lies beside them.
SELECTION = "selection.parquet"
ABOUT = "about.txt"
CHECKSUM = "sha256"
VIEW = "view.html"

# Name in the metadata.
SHA256 = "sha256"


def beside(uri: str, name: str) -> str:
    """URI of a file in the same folder as the file `uri`."""
    return f"{uri.rsplit('/', 1)[0]}/{name}"


def model_file(uri: str, name: str) -> str:
    """URI of a file of a model, or of its exports. `uri`: the artifact's folder; `name`: as in ModelInfo.files or
    ExportsManifest.files.
    """
    return f"{uri}/files/{name}"


def shard(store: str, sha256: str) -> str:
    """URI of a dataset's shard, which all versions in a store share. `store`: its root."""
    return f"{store.rstrip('/')}/shards/{sha256}.parquet"


def dedup_part(store: str, part: str, name: str) -> str:
    """URI of a file of a dedup index's part, which all indexes in a store share; of the part's folder for name ""."""
    return f"{store.rstrip('/')}/dedup_parts/{part}/{name}"
