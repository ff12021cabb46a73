"""Score untrained networks and print how far the scores agree."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.errors import NasError
from nas.output import VARIANT, Column, Format, Row, metric_column, print_rows, text_column
from nas.premeasure import MAX_MEASURED
from searchspace.cost import cost
from searchspace.formats import load_variant
from searchspace.model_config import ModelConfig
from searchspace.score_table import SCORE_TABLE, is_constant, known_scores
from searchspace.spaces import SPACES
from searchspace.styles import style_of
from studies.fidelity import fidelity_text
from studies.rank_statistics import kendall_tau
from studies.records import METRICS
from trainer.proxy_config import ProxyConfig

COSTS = ("params", "flops")  # exact, and printed whatever is asked for
SECONDS = Column("seconds", "time (s)", "{:.1f}".format, optional=True)


def chosen(variants: Sequence[str], space: str | None) -> list[ModelConfig]:
    """The variants by name, or all feasible candidates of a space; ValueError unless it is one of the two."""
    if bool(variants) == (space is not None):
        raise ValueError("scores are of variants or of a space: write nas scores T 80,16,2,13, or nas scores --space stacking")
    if space is None:
        return [load_variant(variant) for variant in variants]
    if space not in SPACES:
        raise ValueError(f"unknown space {space!r}; known: {', '.join(SPACES)}")
    feasible = SPACES[space]().feasible_set()
    if len(feasible) > MAX_MEASURED:
        raise ValueError(
            f"the space {space!r} has {len(feasible):,} feasible candidates, more than {MAX_MEASURED:,} to score; name variants"
        )
    return [candidate.config for candidate in map(feasible.candidate, range(len(feasible))) if candidate.config is not None]


def proxy_of(flags: Mapping[str, Any]) -> ProxyConfig:
    """The proxy of the flags that were given."""
    return ProxyConfig(**{name: value for name, value in flags.items() if value is not None})


def scores(configs: Sequence[ModelConfig], names: Sequence[str], proxy: ProxyConfig, seed: int, format: Format) -> None:
    """Print costs and scores of every variant, which of them say nothing, and for people Kendall's τ between them."""
    measured = [name for name in known_scores(names) or SCORE_TABLE if name not in COSTS]
    rows = [_row(config, measured, proxy, seed) for config in configs]
    columns = [*map(metric_column, (*COSTS, *measured)), SECONDS, text_column("fidelity", "fidelity", plain=True)]
    title = f"{len(rows)} variants, {rows[0]['fidelity']}, seed {seed}"
    print_rows(rows, [*VARIANT, *columns], format=format, title=title, caption=_caption(rows, (*COSTS, *measured)))
    if format == "table" and len(rows) > 2:
        _print_agreement(rows, (*COSTS, *measured))


def _row(config: ModelConfig, names: Sequence[str], proxy: ProxyConfig, seed: int) -> Row:
    size, start = cost(config), time.perf_counter()
    found = _scores(config, names, proxy, seed)
    return {
        "variant": config.short_name,
        "style": style_of(config),
        **{name: getattr(size, name) for name in COSTS},
        **{name: value if math.isfinite(value) else None for name, value in found.items()},
        "seconds": time.perf_counter() - start,
        "fidelity": fidelity_text([proxy.fidelity(epochs=0, seed=seed)]),
    }


def _scores(config: ModelConfig, names: Sequence[str], proxy: ProxyConfig, seed: int) -> Mapping[str, float]:
    from trainer import zero_cost  # torch

    try:
        return zero_cost.scores(config, proxy, names, seed=seed)
    except MemoryError as error:
        raise NasError(f"{config.short_name} does not fit: {error}; try a larger --channel-divisor or a smaller --image-size") from None


def _caption(rows: Sequence[Row], names: Sequence[str]) -> str:
    """What a reader must not take for a ranking: columns that are constant, values that are not finite."""
    lines = []
    for name in names:
        values = _values(rows, name)
        if is_constant(values):
            lines.append(f"{METRICS[name].name} is constant: says nothing here")
        elif not np.isfinite(values).all():
            lines.append(f"{METRICS[name].name} is not finite where a dash stands")
    return "\n".join(lines)


def _print_agreement(rows: Sequence[Row], names: Sequence[str]) -> None:
    """Kendall's τ-b between the columns; a dash where one of them is constant or not finite throughout."""
    table = [{"name": METRICS[one].name, **{other: _tau(_values(rows, one), _values(rows, other)) for other in names}} for one in names]
    columns = [text_column("name", "Kendall τ"), *(Column(name, METRICS[name].name, "{:+.2f}".format) for name in names)]
    print_rows(table, columns, format="table", title="How far the orders agree: 1 the same, 0 unrelated, -1 reversed")


def _tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    if is_constant(one) or is_constant(other) or not np.isfinite([one, other]).all():
        return None
    return kendall_tau(np.asarray(one), np.asarray(other))


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return [math.nan if row[name] is None else float(row[name]) for row in rows]
