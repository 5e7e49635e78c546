"""Near-duplicate removal with datasketch: a row is kept unless the index of kept rows answers its query.

`generator` is the way that its documentation gives for many sets; `xxhash` is the same with a faster hash function in
place of SHA-1 (the `hashfunc` argument); `update_batch` is one call per row.
"""

from collections.abc import Iterator

import numpy as np
from datasketch import MinHash, MinHashLSH
from reading import PERMUTATIONS, THRESHOLD, finish, options, shingles, texts


def signatures(rows: list[str], words: int, mode: str) -> Iterator[MinHash]:
    sets = ([s.encode() for s in shingles(text, words)] for text in rows)
    if mode == "update_batch":
        for one in sets:
            sketch = MinHash(num_perm=PERMUTATIONS)
            sketch.update_batch(one)
            yield sketch
    elif mode == "xxhash":
        import xxhash

        yield from MinHash.generator(sets, num_perm=PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)
    else:
        yield from MinHash.generator(sets, num_perm=PERMUTATIONS)


def main() -> None:
    chosen = options(__doc__.splitlines()[0], ["generator", "xxhash", "update_batch"])
    rows = texts(chosen.file)
    keep = np.zeros(len(rows), bool)
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    for i, sketch in enumerate(signatures(rows, chosen.words, chosen.mode)):
        if not index.query(sketch):
            index.insert(i, sketch, check_duplication=False)
            keep[i] = True
    finish("datasketch", chosen, keep)


if __name__ == "__main__":
    main()
