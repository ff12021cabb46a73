"""A file of recorded results: rows of what was chosen, with which seed, and what was measured of it after which epoch."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.records import METRICS

Choice = tuple[float | str, ...]
Rows = Mapping[int | None, int]
"""The row of each epoch; None stands for the last epoch of a file that does not number them."""
MEASURED = tuple(name for name, metric in METRICS.items() if metric.origin == "trained")
SUFFIXES = (".csv", ".parquet")
_FIDELITY = "fidelity_"
_OWN = ("epochs", "seed", "latency")  # what the rows of one table may differ in


class Table:
    """The rows of a file by choice (the values of `domains`, in columns `param_NAME` or `NAME`) and seed; ValueError for a bad file.

    Columns beside: `epoch` where every epoch has a row, `seed` where results are of seeds, metrics in plain units. Of a file that
    `nas trials STUDY --out` wrote, the complete trials count.
    """

    def __init__(self, path: str, domains: Sequence[str]) -> None:
        self.name = Path(path).name
        self._columns = _read(Path(path))
        self._named = {name: self._column(name) for name in domains}
        self.metrics = tuple(name for name in MEASURED if any(map(_known, self._columns.get(name, ()))))
        if not self.metrics:
            raise ValueError(f"{self.name} has none of the metrics {', '.join(MEASURED)}; a table of results has at least one")
        self._rows: dict[Choice, dict[Any, dict[Any, int]]] = defaultdict(lambda: defaultdict(dict))
        states = self._columns.get("state")
        self._complete = [row for row in range(len(self._columns[self.metrics[0]])) if states is None or states[row] == "COMPLETE"]
        for row in self._complete:
            self._index(row)

    def __len__(self) -> int:
        return len(self._rows)

    def holds(self, choice: Choice, seeds: Sequence[int] = ()) -> bool:
        """Whether there are results of a choice, with each of these seeds."""
        return choice in self._rows and all(seed in self._rows[choice] for seed in seeds)

    def rows(self, choice: Choice, seed: int) -> Rows:
        """The row of each epoch (None: of the last one, whichever it was); ValueError says what is missing."""
        if choice not in self._rows:
            raise ValueError(f"{self.name} has no complete result of {self.text(choice)}")
        by_seed = self._rows[choice]
        found = by_seed.get(None) or by_seed.get(seed)
        if found is None:
            raise ValueError(f"{self.name} has no result of {self.text(choice)} with seed {seed}, only {sorted(by_seed)}")
        return found

    def measured(self, row: int) -> dict[str, float]:
        """The metrics of a row."""
        cells = {name: self._columns[name][row] for name in self.metrics}
        return {name: float(value) for name, value in cells.items() if _known(value)}

    @property
    def by_seed(self) -> bool:
        """Whether the rows are numbered by seeds."""
        return "seed" in self._columns

    @property
    def by_epoch(self) -> bool:
        """Whether the rows are numbered by epochs."""
        return "epoch" in self._columns

    def cell(self, name: str, row: int) -> Any:
        """A cell of a row; None where the file has no such column."""
        return self._columns[name][row] if name in self._columns else None

    def facts(self, row: int) -> dict[str, Any]:
        """At what effort a row was measured, as far as the file says it."""
        recorded = {name.removeprefix(_FIDELITY): self._columns[name][row] for name in self._columns if name.startswith(_FIDELITY)}
        return {name: value for name, value in recorded.items() if _known(value) and name not in _OWN}

    def recorded(self, fact: str) -> set[Any]:
        """The different values of a `fidelity_` column."""
        values = (self.cell(_FIDELITY + fact, row) for row in self._complete)
        return {value for value in values if _known(value)}

    def _column(self, domain: str) -> Sequence[Any]:
        for name in (f"param_{domain}", domain):
            if name in self._columns:
                return self._columns[name]
        raise ValueError(f"{self.name} has no column {domain!r} (or 'param_{domain}'); it has {', '.join(self._columns)}")

    def _index(self, row: int) -> None:
        choice = tuple(plain(column[row]) for column in self._named.values())
        of_seed = self._rows[choice][self.cell("seed", row)]
        epoch = self.cell("epoch", row)
        if epoch in of_seed:
            raise ValueError(f"{self.name} has two results of {self.text(choice)} (rows {of_seed[epoch] + 1} and {row + 1})")
        of_seed[epoch] = row

    def text(self, choice: Choice) -> str:
        """`channels=64, l1=4`."""
        values = (f"{value:g}" if isinstance(value, float) else value for value in choice)
        return ", ".join(f"{name}={value}" for name, value in zip(self._named, values, strict=True))


def plain(value: Any) -> float | str:
    """A value of a choice as a file may hold it: numbers, and texts that are numbers, as floats."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _read(path: Path) -> dict[str, Sequence[Any]]:
    """The columns of a CSV or Parquet file; ValueError in one line for one that is neither, or empty."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a table of results is a file {' or '.join(SUFFIXES)}, got {str(path)!r}")
    import pyarrow

    try:
        columns: dict[str, Sequence[Any]] = _ARROW[path.suffix](path).to_pydict()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (pyarrow.ArrowException, ValueError) as error:
        raise ValueError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    if not columns or not next(iter(columns.values())):
        raise ValueError(f"{path} holds no rows")
    return columns


def _read_csv(path: Path) -> Any:
    from pyarrow import csv

    return csv.read_csv(path)


def _read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path)


_ARROW = {".csv": _read_csv, ".parquet": _read_parquet}
