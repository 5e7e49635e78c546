"""Slots of simulated schedules, with schedulers that are killed: is every one accounted for as its policy says?

    python benchmarks/bench_slots.py [SCHEDULES]

Each schedule lives 225 days of Berlin, both changes of its clocks included; tests/support/simulated.py says what
happens to it, and what each slot is held against. A slot that isn't as its policy says ends this with an error.
"""

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measure import finish

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> None:
    from support.simulated import Simulation

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    outcomes: Counter[str] = Counter()
    kills, fewest, began = 0, sys.maxsize, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ASSAY_STATE"] = f"{folder}/state"
        state = Path(folder) / "state" / "schedules"
        state.mkdir(parents=True)
        for seed in range(count):
            found, killed = Simulation(seed=seed, state=state).run()
            outcomes += found
            kills += killed
            fewest = min(fewest, found.total())
    said = ", ".join(f"{n:,} {state}" for state, n in outcomes.most_common())
    print(f"{count} schedules, {outcomes.total():,} slots ({fewest} or more each), {kills:,} kills: {said}")
    figures: dict[str, object] = {
        "schedules": count, "slots": outcomes.total(), "fewest": fewest, "kills": kills, **outcomes,
        "cpu_seconds": round(time.process_time() - began),
    }  # fmt: skip
    # Had one been otherwise, this wouldn't have come so far.
    finish("slots", figures, {"200 slots or more each, all as their policies say": fewest >= 200})


if __name__ == "__main__":
    main()
