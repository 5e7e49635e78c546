"""Which files the columnar path may read. Apart from it, so that small files don't wait for compiled code to load."""

from steps.ingest.config import SourceConfig
from steps.ingest.files import InputFile
from steps.ingest.rows import RowReader

# Chosen: below this the careful path is done before the compiled code is loaded.
LEAST_BYTES = 8 << 20
_FORMATS = ("text", "prompt_completion", "alpaca", "preference", "openai", "sharegpt")


def eligible(file: InputFile, source: SourceConfig, reader: RowReader) -> bool:
    """Whether it is large enough, of a container and a format that are known, and no setting looks at single rows."""
    said = source.columns or source.roles or source.as_meta or file.meaning
    plain = not said and source.sample == 1 and reader.sink.mix is None
    whole = reader.format != "text" or reader.config.chunk == "none"
    known = reader.format in _FORMATS and file.container in ("jsonl", "json", "parquet")
    return file.size >= LEAST_BYTES and plain and whole and known
