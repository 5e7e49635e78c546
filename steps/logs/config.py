"""Settings of the logs stage."""

from typing import Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class LogsConfig(Frozen):
    """Which logs of requests are read, and how they are cut into windows."""

    paths: tuple[str, ...] = Field(
        min_length=1,
        description="Files, folders or globs of JSON Lines, such as logs/serve.jsonl*: growing and rotated ones, plain"
        " or gzip; a folder means all *.jsonl* in it. Relative to the run's root, or fsspec URLs (s3://, gs://, az://,"
        " https:// of one file), read where they are.",
    )
    source: str = Field(
        "production",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Logical name; the source of every row.",
    )
    # Chosen: so many requests show a third of them on a new topic, and a busy service has them in an hour.
    window_requests: int | None = Field(
        500, ge=1, description="A window is so many requests; null: all, or what window_hours says."
    )
    window_hours: float | None = Field(
        None, gt=0, description="A window is so many hours, the newest one ending with the newest request."
    )
    windows: int = Field(6, ge=1, le=100, description="Windows that are read, the newest first; older requests aren't.")
    # Chosen: where every other line can't be read, the form is another one.
    max_bad_share: float = Field(
        0.5, ge=0, le=1, description="Lines that can't be read / lines; above it the stage fails."
    )
    max_line_bytes: int = Field(16 << 20, ge=1024, description="A longer line isn't read.")

    @model_validator(mode="before")
    @classmethod
    def _hours_instead(cls, values: object) -> object:
        """Who names hours means those."""
        if isinstance(values, dict) and values.get("window_hours") and "window_requests" not in values:
            return {**values, "window_requests": None}
        return values

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if self.window_requests is not None and self.window_hours is not None:
            raise ValueError("a window is window_requests or window_hours, not both")
        return self
