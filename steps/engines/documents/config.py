"""How documents of pages are read, and what reading one may cost."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen


class DocumentConfig(Frozen):
    """PDF and DOCX files. Each is read in a process of its own, which ends when it takes too long or too much."""

    rows: Literal["document", "page"] = Field(
        "document", description="a row per document, which knows where its pages start, or a row per page of a PDF"
    )
    # Chosen: a page takes some 20 ms; what needs seconds for one is a drawing, damaged, or meant to.
    max_seconds: float = Field(
        20, gt=0, description="seconds that a document may take; half a second more for each page that was read"
    )
    # Chosen: a page needs some MB; a compressed stream may stand for gigabytes.
    max_memory_mb: int = Field(1024, ge=256, description="memory of the process that reads documents")
    # Chosen: scans have some MB a page, and those of hundreds of pages are pictures anyway.
    max_file_mb: int = Field(256, ge=1, description="size of a document's file")
    max_pages: int = Field(10_000, ge=1, description="pages that a document may have")
