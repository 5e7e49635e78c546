"""Fixtures of the command line's tests."""

from support.terminal import terminal  # noqa: F401 - fixture
