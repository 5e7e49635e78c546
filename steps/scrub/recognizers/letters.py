"""What all kinds share: their name where detectors are named, and characters as the kinds' patterns see them."""

# profiles.BESIDE_PRESIDIO calls them so.
RECOGNIZER = "own patterns"
# A letter, and a capital, for RE2. Beyond ASCII every character counts as a letter, and as a capital unless it
# is one of Latin-1's small letters: the exact Unicode classes make automata a hundred times as large. `capitalised`
# then looks at what was found.
LETTER = r"[A-Za-z\x{80}-\x{10FFFF}]"
CAPITAL = rf"[A-Z\x{{80}}-\x{{DF}}\x{{100}}-\x{{10FFFF}}](?:{LETTER}|['.-])*"


def capitalised(word: str) -> bool:
    """Whether the word's first letter is a capital, or of a script that has none."""
    letter = next((c for c in word if c.isalpha()), "")
    return bool(letter) and not letter.islower()
