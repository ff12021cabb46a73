"""Measure latencies and print them with their ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nas.errors import NasError
from nas.output import Column, Format, print_rows, text_column
from searchspace.formats import load_variant
from searchspace.model_config import ModelConfig
from searchspace.quantity import parse_integers


def latency(texts: Sequence[str], batch: str, anchor: str, how: Mapping[str, Any], format: Format) -> None:
    """Print the latency of every variant at every batch size."""
    from trainer.latency_setting import LatencySetting

    variants, beside = _named(texts), load_variant(anchor)
    settings = [LatencySetting(batch_size=size, anchor=beside, **how) for size in parse_integers(batch)]
    rows = [row for setting in settings for row in _rows(variants, setting)]
    print_rows(rows, _columns(anchor), format=format, title=_title(settings[0]), caption=_caption(rows, len(variants)))


def _named(texts: Sequence[str]) -> dict[str, ModelConfig]:
    named: dict[str, ModelConfig] = {}
    for text in texts:
        config = load_variant(text)
        if same := [other for other, known in named.items() if known == config]:
            raise ValueError(f"variants {same[0]} and {text} are the same network; name it once")
        named[text] = config
    return named


def _rows(variants: Mapping[str, ModelConfig], setting: Any) -> list[dict[str, Any]]:
    from trainer.latency import measure_rounds
    from trainer.latency_statistics import declare, summarise

    try:
        timings = measure_rounds(list(variants.values()), setting)
    except MemoryError as error:
        raise NasError(str(error)) from error
    found = zip(variants, summarise(timings), declare(timings.ratios), strict=True)
    return [
        {
            "variant": name,
            "batch": setting.batch_size,
            **asdict(latency),
            "images_per_s": 1000 * setting.batch_size / latency.median_ms,
            "rank": str(rank),
            "first_rank": rank.first,
            "last_rank": rank.last,
        }
        for name, latency, rank in found
    ]


def _columns(anchor: str) -> list[Column]:
    return [
        text_column("variant", "variant"),
        Column("batch", "batch"),
        Column("median_ms", "latency (ms)", _significant),
        Column("low_ms", "from", _significant, optional=True),
        Column("high_ms", "to", _significant, optional=True),
        Column("images_per_s", "images/s", "{:,.1f}".format, optional=True),
        Column("ratio", f"× {anchor}", "{:.3f}".format),
        Column("ratio_low", "from", "{:.3f}".format),
        Column("ratio_high", "to", "{:.3f}".format),
        Column("rank", "rank"),
        *(text_column(key, key, plain=True) for key in ("first_rank", "last_rank", "rounds")),
    ]


def _significant(value: float) -> str:
    return f"{value:#,.4g}".rstrip(".")


def _title(setting: Any) -> str:
    where = (
        f"{setting.threads} threads" if setting.device == "cpu" and setting.threads > 1 else "1 thread" if setting.device == "cpu" else ""
    )
    parts = [f"Latency of a batch on {setting.device}", where, setting.precision, f"{setting.image_size} px, medians with 95 % intervals"]
    return ", ".join(part for part in parts if part)


def _caption(rows: Sequence[Mapping[str, Any]], variants: int) -> str:
    from trainer.latency_setting import BLOCK
    from trainer.latency_statistics import fewest_blocks

    rounds, least = min(row["rounds"] for row in rows), BLOCK * fewest_blocks(variants)
    text = f"{rounds} rounds; variants that cannot be told apart share ranks (any false difference among equals: 5 %)"
    return text if rounds >= least else f"{text}\nToo few rounds to tell {variants} variants apart: it takes at least {least}"
