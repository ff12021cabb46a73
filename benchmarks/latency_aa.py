"""How often are equal networks declared different? Run `python -m benchmarks.latency_aa [--seconds S] [--json FILE | --read FILE]`.

Measures copies of one variant in one session after another as `nas latency` would, records every round, and asks the statistics: of the
sessions as they were, of sessions put together from recorded blocks, and of those with one copy made slower.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.hardware import describe
from nas.output import Column, print_rows, text_column
from searchspace.formats import load_variant
from trainer.latency_setting import BLOCK, LatencySetting
from trainer.latency_statistics import slower

RESULTS = Path(__file__).parent / "results" / "latency-aa-cpu.json"
VARIANT, IMAGE_SIZE, COPIES, BLOCKS = "32,16,1,2", 64, 4, 12
SESSIONS = 2000
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Floats]


@dataclass(frozen=True, slots=True)
class Share:
    """`found` of `sessions` declared a difference."""

    found: int
    sessions: int

    @property
    def rate(self) -> float:
        """The share."""
        return self.found / self.sessions

    @property
    def bound(self) -> float:
        """What the true share stays below with 95 % confidence (Clopper and Pearson)."""
        return 1.0 if self.found == self.sessions else float(beta.ppf(0.95, self.found + 1, self.sessions - self.found))


def recorded(record: Mapping[str, Any]) -> Floats:
    """Milliseconds (sessions, rounds, copies)."""
    return np.array(record["sessions_ms"])


def false_differences(sessions: Floats, *, block: int = BLOCK) -> Share:
    """Of sessions of equals (sessions, rounds, copies), those in which any two copies are declared different."""
    return Share(sum(bool(slower(session, block=block).any()) for session in sessions), len(sessions))


def found_differences(sessions: Floats, factor: float) -> Share:
    """Of all pairs of the first copy, made `factor` times slower, and another one, those in which it is declared the slower."""
    slowed = sessions * np.where(np.arange(sessions.shape[2]) == 0, factor, 1)
    orders = [slower(session)[0, 1:] for session in slowed]
    return Share(int(np.sum(np.array(orders) == 1)), len(orders) * (sessions.shape[2] - 1))


def redrawn(sessions: Floats, *, blocks: int = BLOCKS, count: int = SESSIONS, relabel: bool = False, seed: int = 0) -> Floats:
    """Sessions of blocks drawn from all that were recorded; `relabel` draws anew, block by block, which copy is which."""
    generator = np.random.default_rng(seed)
    pool = sessions.reshape(-1, BLOCK, sessions.shape[2])
    # With replacement only where a session is larger than what was recorded: a block must not bear witness twice.
    drawn = pool[np.stack([generator.choice(len(pool), blocks, replace=blocks > len(pool)) for _ in range(count)])]
    if relabel:
        labels = generator.permuted(np.tile(np.arange(pool.shape[2]), (count, blocks, 1)), axis=2)
        drawn = np.take_along_axis(drawn, labels[:, :, None, :], axis=3)
    return drawn.reshape(count, blocks * BLOCK, pool.shape[2])


def rows(sessions: Floats) -> list[dict[str, Any]]:
    """What the statistics say of the recording."""
    shares = {
        "equal, as recorded": false_differences(sessions),
        "equal, blocks redrawn": false_differences(redrawn(sessions)),
        "equal, redrawn and relabelled": false_differences(redrawn(sessions, relabel=True)),
        "equal, as recorded, every round for itself": false_differences(sessions, block=1),
        "equal, blocks redrawn, every round for itself": false_differences(redrawn(sessions), block=1),
    }
    for blocks in (BLOCKS, 2 * BLOCKS, 4 * BLOCKS):
        several = redrawn(sessions, blocks=blocks, count=SESSIONS // 4, relabel=True)
        shares |= {f"one {factor - 1:.0%} slower, {blocks * BLOCK} rounds": found_differences(several, factor) for factor in (1.05, 1.1)}
    return [{"what": what, "found": s.found, "sessions": s.sessions, "rate": s.rate, "bound": s.bound} for what, s in shares.items()]


def measure(seconds: float) -> dict[str, Any]:
    """Sessions until the seconds have passed, with where they were measured."""
    from trainer.latency import measure_rounds

    config, start = load_variant(VARIANT), time.monotonic()
    sessions: list[list[list[float]]] = []
    while time.monotonic() - start < seconds:
        setting = LatencySetting(image_size=IMAGE_SIZE, rounds=BLOCKS * BLOCK, anchor=config, seed=len(sessions))
        timings = measure_rounds([config] * (COPIES - 1), setting)
        sessions.append(np.column_stack([timings.times_ms, timings.anchor_ms[:, 0]]).round(4).tolist())
    about = {"variant": VARIANT, "image_size": IMAGE_SIZE, "batch_size": 1, "threads": setting.threads, "block": BLOCK}
    return {"hardware": {**describe(), "threads": setting.threads}, **about, "sessions_ms": sessions}


def main() -> None:
    """Measure and record, or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--read", type=Path)
    arguments = parser.parse_args()
    record = json.loads((arguments.read or RESULTS).read_text()) if arguments.read else measure(arguments.seconds)
    if not arguments.read:
        arguments.json.write_text(json.dumps(record) + "\n", encoding="utf-8")
    columns = [text_column("what", "sessions"), Column("found", "declared different"), Column("sessions", "of")]
    columns += [Column("rate", "share", "{:.1%}".format), Column("bound", "at most (95 %)", "{:.1%}".format)]
    print_rows(rows(recorded(record)), columns, format="table", title=f"{record['hardware']}")


if __name__ == "__main__":
    main()
