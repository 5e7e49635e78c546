"""Single keys and short lines from a person at a terminal, or letters and lines from a pipe."""

import sys
import termios
import tty
from collections.abc import Callable


def key_pressed() -> str:
    """One key in lower case: without Enter on a terminal, else the first letter of a line; "" at the end of input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.strip()[:1].lower() if line else ""
    return _with_cbreak(lambda: sys.stdin.read(1).lower())


def line_typed() -> str:
    """A line without its outer white space; "" at the end of input."""
    return sys.stdin.readline().strip()


def _with_cbreak(read: Callable[[], str]) -> str:
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        # Not the default TCSAFLUSH, which throws away what was typed ahead.
        tty.setcbreak(terminal, termios.TCSANOW)
        key = read()
        return "" if key == "\x04" else key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
