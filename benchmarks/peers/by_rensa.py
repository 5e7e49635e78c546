"""Near-duplicate removal with rensa's deduplicators, which keep a row unless a kept one has a similar sketch."""

import numpy as np
import rensa
from reading import PERMUTATIONS, THRESHOLD, finish, options, shingles, texts


def main() -> None:
    chosen = options(__doc__.splitlines()[0], ["rminhash", "cminhash"])
    rows = texts(chosen.file)
    pairs = ((str(i), list(shingles(text, chosen.words))) for i, text in enumerate(rows))
    if chosen.mode == "rminhash":
        judge = rensa.RMinHashDeduplicator(threshold=THRESHOLD, num_perm=PERMUTATIONS, use_lsh=True)
    else:
        judge = rensa.CMinHashDeduplicator(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    finish("rensa", chosen, np.array(judge.add_pairs(pairs), bool))


if __name__ == "__main__":
    main()
