"""Single keys and short lines from a person at a terminal, or lines from a pipe, which hold a key each."""

import os
import select
import sys
import termios
from collections.abc import Callable
from typing import Any

# Chosen: the bytes of an arrow key come together; a person's next key takes longer.
_TOGETHER_SECONDS = 0.03
_INTERRUPT, _END_OF_INPUT, _ESCAPE, _FIRST_WIDE = 0x03, 0x04, 0x1B, 0x80
# What Ctrl-D becomes when it came while the terminal still gathered lines (n_tty of Linux).
_END_OF_LINES = 0x00
# Where a terminal has it in place of a special character, that one does nothing (_POSIX_VDISABLE on Linux).
_NO_CHARACTER = b"\0"


def key_pressed(ask: Callable[[], None]) -> str:
    """One key in lower case: without Enter on a terminal, else the only letter of a line; "" at the end of input.

    `ask` shows which keys there are, once the terminal waits for one. "?" for a key that is no ASCII character, such as
    an arrow, whose last byte would be another key, and for a line of several letters, of which all but the first would
    be lost.
    """
    if not sys.stdin.isatty():
        ask()
        line = sys.stdin.readline()
        letters = line.strip().lower()
        return (letters if len(letters) == 1 else "?") if line else ""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        # Not the default TCSAFLUSH, which throws away what was typed ahead.
        termios.tcsetattr(terminal, termios.TCSANOW, _one_by_one(before))
        ask()
        return _key(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _one_by_one(mode: list[Any]) -> list[Any]:
    """The mode of a terminal that gives every key at once and unseen; Ctrl-C is a key like others.

    As a signal it would be lost when it came just before the wait for a key.
    """
    *flags, local, speed_in, speed_out, characters = mode
    special = list(characters)
    special[termios.VMIN], special[termios.VTIME], special[termios.VINTR] = 1, 0, _NO_CHARACTER
    return [*flags, local & ~(termios.ECHO | termios.ICANON), speed_in, speed_out, special]


def _key(terminal: int) -> str:
    # Past Python's buffer, which would read the bytes that follow.
    first = os.read(terminal, 1)
    if not first or first[0] in (_END_OF_INPUT, _END_OF_LINES):
        return ""
    if first[0] == _INTERRUPT:
        raise KeyboardInterrupt
    if first[0] != _ESCAPE and first[0] < _FIRST_WIDE:
        return first.decode().lower()
    while select.select([terminal], [], [], _TOGETHER_SECONDS)[0] and os.read(terminal, 1):
        pass
    return "?"


def line_typed() -> str:
    """A line without what can't be seen and its outer white space; "" at the end of input."""
    return "".join(c for c in sys.stdin.readline() if c.isprintable()).strip()
