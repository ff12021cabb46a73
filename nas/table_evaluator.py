"""Recorded results in place of a training: a table answers each candidate with what was measured of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from nas.config import StudyConfig
from nas.result_table import Choice, Rows, Table, plain
from searchspace.model_config import ModelConfig
from searchspace.space import Candidate, Params
from studies.records import METRICS
from trainer.proxy_config import ProxyConfig, ProxyResult

READ_OFF: Mapping[str, Callable[[ModelConfig], int]] = {
    "channels": lambda model: model.channels,
    "group_channels": lambda model: model.group_channels,
    "l1": lambda model: model.depths[0],
    "l3": lambda model: model.depths[2],
    "kernel_size": lambda model: model.kernel_size,
}
NAMED = 5  # missing candidates that a message names


@dataclass(frozen=True, slots=True)
class TableEvaluator:
    """Answers candidates from the table at `path`, which each process reads once; pickles as its path.

    A table with the last epoch only is answered as one step. `seconds` are recorded ones: nobody waits for them.
    `choices` name the candidates of spaces whose choices cannot be read off an architecture; `seeds` are those of a study of several.
    """

    path: str
    domains: tuple[str, ...]
    choices: Mapping[ModelConfig, Choice] | None = None
    seeds: tuple[int, ...] = ()

    @classmethod
    def of(cls, path: str, config: StudyConfig) -> Self:
        """The evaluator for a study; ValueError where the table cannot answer it: columns, metrics, epochs, data of another proxy."""
        domains = tuple(config.space.domains)
        choices = None if set(domains) <= set(READ_OFF) else _choices(config)
        seeds = tuple(config.trial_seeds) if config.seeds > 1 else ()
        made = cls(str(Path(path).expanduser().absolute()), domains, choices, seeds)
        _check(made.table, config)
        return made

    @property
    def table(self) -> Table:
        """The table, as it is now."""
        try:
            return _table(self.path, self.domains, Path(self.path).stat().st_mtime_ns)
        except OSError as error:
            raise ValueError(f"cannot read {self.path}: {error.strerror or error}") from None

    def __call__(self, config: ModelConfig, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        """The recorded results, one an epoch up to the proxy's last; ValueError says what the table lacks."""
        table = self.table
        rows = table.rows(self._choice(config), seed)
        variant = table.cell("variant", _last(table, rows, proxy.epochs))
        if variant not in (None, config.short_name):
            raise ValueError(f"{table.name} holds results of another variant: {variant}, this one is {config.short_name}")
        for epoch, row in sorted((proxy.epochs if epoch is None else epoch, row) for epoch, row in rows.items()):
            if epoch <= proxy.epochs:
                fidelity = {**table.facts(row), "epochs": epoch, "seed": seed, "table": table.name}
                yield ProxyResult(epoch=epoch, metrics=table.measured(row), fidelity=fidelity)

    def final(self, params: Params, *, epochs: int, seed: int) -> dict[str, float]:
        """The metrics of a choice after `epochs` epochs; ValueError says what the table lacks."""
        rows = self.table.rows(self._key(params), seed)
        return self.table.measured(_last(self.table, rows, epochs))

    def missing(self, feasible: Sequence[Candidate]) -> str | None:
        """Which feasible candidates the table lacks, in words; None where it has all, ValueError where it has none of them."""
        table = self.table
        missing = [candidate for candidate in feasible if not table.holds(self._key(candidate.params), self.seeds)]
        if len(missing) == len(feasible):
            raise ValueError(f"{table.name} has results of none of the {len(feasible)} feasible candidates; is it of another space?")
        named = "; ".join(table.text(self._key(candidate.params)) for candidate in missing[:NAMED])
        more = " ..." if len(missing) > NAMED else ""
        seeds = f", of the seeds {self.seeds[0]} to {self.seeds[-1]} each" if self.seeds else ""
        return f"{table.name} lacks {len(missing)} of {len(feasible)} feasible candidates{seeds}: {named}{more}" if missing else None

    def _key(self, params: Params) -> Choice:
        return tuple(plain(params[name]) for name in self.domains)

    def _choice(self, config: ModelConfig) -> Choice:
        if self.choices is None:
            return tuple(float(READ_OFF[name](config)) for name in self.domains)
        if config not in self.choices:
            raise ValueError(f"{config.short_name} is no candidate of the space that this table answers")
        return self.choices[config]


def _choices(config: StudyConfig) -> dict[ModelConfig, Choice]:
    feasible = config.space.feasible()
    return {c.config: tuple(map(plain, c.params.values())) for c in feasible if c.config is not None}


def _last(table: Table, rows: Rows, epochs: int) -> int:
    """The row with the results after `epochs` epochs."""
    if (row := rows.get(epochs, rows.get(None))) is None:
        raise ValueError(f"{table.name} has results of the epochs {sorted(e for e in rows if e is not None)}, none of epoch {epochs}")
    return row


def _check(table: Table, config: StudyConfig) -> None:
    """ValueError where the table cannot answer the study: an objective that it lacks, or results of another proxy."""
    trained = [objective.metric for objective in config.objectives if METRICS[objective.metric].origin == "trained"]
    if lacking := [name for name in trained if name not in table.metrics]:
        raise ValueError(f"{table.name} has no {', '.join(lacking)}, an objective of the study; it has {', '.join(table.metrics)}")
    if config.seeds > 1 and not table.by_seed:
        raise ValueError(f"{table.name} has no column seed and would answer all {config.seeds} seeds alike; ask for one seed")
    asked = config.proxy.fidelity(epochs=config.proxy.epochs, seed=config.seed)
    own = ("seed", "epochs") if table.by_epoch else ("seed",)  # what the table has rows for
    for name, wanted in asked.items():
        if name not in own and (others := table.recorded(name) - {wanted}):
            recorded = ", ".join(sorted(map(str, others)))
            raise ValueError(f"{table.name} holds results of {name}={recorded}, the study asks for {name}={wanted}")


@lru_cache(maxsize=4)
def _table(path: str, domains: tuple[str, ...], changed_at: int) -> Table:
    """The table as it was when last changed; read once by each process."""
    return Table(path, domains)
