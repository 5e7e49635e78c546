"""Numbers and times for people: on pages, on the terminal, in progress."""

import math


def number(value: float | None) -> str:
    """A number for people: thousands separated, at most four significant digits, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e-3 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds for people: '0.4 s', '38 s', '3 min 20 s', '2 h 5 min'."""
    if round(seconds, 1) < 10:
        return f"{seconds:.2g} s" if seconds >= 0.01 or seconds == 0 else "< 0.01 s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Bytes for people, in powers of 1000: '312 bytes', '4.2 MB', '1.03 GB'."""
    if count < 1000:
        return f"{count} bytes"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{number(round(count / 1000**power, 3))} {('kB', 'MB', 'GB', 'TB')[power - 1]}"
