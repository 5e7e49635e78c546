"""Vehicle identification numbers: 17 characters, of which the ninth checks the others (49 CFR 565.15)."""

VIN_CHARACTERS = 17
# Index of the check digit.
VIN_CHECK = 8
_VALUES = dict(
    zip("ABCDEFGHJKLMNPRSTUVWXYZ", (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, *range(2, 10)), strict=True)
)
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def vin_check(value: str) -> str:
    """The check digit that belongs to 17 capitals and digits, none of them I, O or Q; its own place counts nothing."""
    total = sum(w * (int(c) if c.isdigit() else _VALUES[c]) for c, w in zip(value, _WEIGHTS, strict=True))
    return "0123456789X"[total % 11]
