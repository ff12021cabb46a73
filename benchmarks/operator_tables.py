"""The operator's measurements as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.grid_sample import RELEASED
from benchmarks.load_rate import Rates
from benchmarks.operator_contenders import REFERENCE
from benchmarks.operator_rows import BACKWARD, BOTH, FORWARD, STREAMING, Row
from benchmarks.operator_targets import Target
from benchmarks.training_step import Step
from nas.output import Column, print_rows, text_column

BILLION = 1e9


def print_shapes(rows: Sequence[Row]) -> None:
    """A table for each pass."""
    for way in (FORWARD, BOTH):
        _print_pass(way, rows)
    _print_bounds(rows)


def print_rates(rates: Mapping[str, Sequence[Rates]]) -> None:
    """What the first-level cache allows."""
    cells = [
        {"variant": variant, "bytes": r.row_bytes, "threads": r.threads, "loads": r.loads / BILLION, "modified": r.modifications / BILLION}
        for variant, measured in rates.items()
        for r in measured
    ]
    columns = [text_column("variant", "flags of"), Column("bytes", "bytes"), Column("threads", "threads"), _number("loads", "G loads/s", 2)]
    print_rows(cells, [*columns, _number("modified", "G load+add+store/s", 2)], format="table", title="First-level cache")


def print_memory(peaks: Mapping[str, float], returned: float) -> None:
    """Peaks in MiB."""
    cells = [{"name": name, "mib": size / 2**20} for name, size in {**peaks, "output and gradients alone": returned}.items()]
    title = "Extra peak memory of forward and backward, 8x56x56x64/4"
    print_rows(cells, [text_column("name", "operator"), _number("mib", "MiB", 1)], format="table", title=title)


def print_steps(steps: Sequence[Step]) -> None:
    """Training steps of T."""
    cells = [
        {"batch": f"{step.images} x {step.side}²", "name": name, "ms": 1000 * timing.median, "ratio": step.ratio(name)}
        for step in steps
        for name, timing in step.times.items()
    ]
    columns = [
        text_column("batch", "batch"),
        text_column("name", "operator and products"),
        _number("ms", "ms", 1),
        _number("ratio", "ratio", 2),
    ]
    print_rows(cells, columns, format="table", title="InternImage-T, one training step")


def print_targets(targets: Sequence[Target]) -> None:
    """Every target with its verdict."""
    cells = [{"name": t.name, "measured": t.measured, "must": t.must, "aim": t.aim, "verdict": t.verdict} for t in targets]
    numbers = [_number(key, key, 2) for key in ("measured", "must", "aim")]
    print_rows(cells, [text_column("name", "target"), *numbers, text_column("verdict", "verdict")], format="table", title="Targets")


def print_cuda(rows: Sequence[Mapping[str, Any]]) -> None:
    """Whatever the CUDA benchmark reports."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    print_rows(rows, [Column(key, key, _plain, folds=key == "reason") for key in keys], format="table", title="CUDA")


def _print_pass(way: str, rows: Sequence[Row]) -> None:
    variants = rows[0].variants
    cells = [
        {
            **_label(row),
            "spelling": row.baseline(way),
            **{name: 1000 * row.seconds(way, name) for name in (RELEASED, REFERENCE, *variants)},
            "baseline": 1000 * row.seconds(way, row.baseline(way)),
            **{f"{variant} ratio": row.ratio(way, variant) for variant in variants},
        }
        for row in rows
    ]
    times = [_number(name, name, 3) for name in (REFERENCE, RELEASED, "baseline", *variants)]
    ratios = [_number(f"{variant} ratio", f"{variant[:6]} ×", 1) for variant in variants]
    caption = "baseline: the fastest spelling of grid_sample at each shape"
    columns = [_LABEL[1], text_column("spelling", "fastest spelling"), *times, *ratios]
    print_rows(cells, columns, format="table", title=f"{way}, ms", caption=caption)


def _print_bounds(rows: Sequence[Row]) -> None:
    variant = rows[0].variants[0]
    cells = [
        {
            **_label(row),
            "way": way,
            "ms": 1000 * row.seconds(way, variant),
            "bound": 1000 * row.bounds[way][variant],
            "share": row.share(way, variant),
            "flops": row.flops(way) / BILLION,
            "rate": row.flops(way) / BILLION / row.seconds(way, variant),
            "moved": row.moved_bytes(way) / 1e6,
            "streaming": 1000 * row.seconds(way, STREAMING),
        }
        for row in rows
        for way in (FORWARD, BACKWARD)
    ]
    work = [
        _number("flops", "GFLOP", 4),
        _number("rate", "GFLOP/s", 0),
        _number("moved", "MB moved", 2),
        _number("streaming", "streaming ms", 3),
    ]
    times = [text_column("way", "pass"), _number("ms", "ms", 3), _number("bound", "bound ms", 3), Column("share", "share", "{:.0%}".format)]
    caption = "bound: loads (and read-modify-writes) of rows in the first-level cache; streaming: as many bytes moved in order"
    print_rows(cells, [*_LABEL, *times, *work], format="table", title=f"{variant}: work and bounds", caption=caption)


def _label(row: Row) -> dict[str, str]:
    return {"family": row.shape.family, "shape": str(row.shape)}


_LABEL = [text_column("family", "family"), text_column("shape", "shape")]


def _number(key: str, label: str, digits: int) -> Column:
    return Column(key, label, f"{{:,.{digits}f}}".format)


def _plain(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
