"""A scaled family and the published one as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nas.output import Column, Format, metric_column, print_rows, text_column
from searchspace.family import Member, ScaleRule, published_family
from searchspace.model_config import ModelConfig
from searchspace.styles import style_of, style_text
from studies.records import METRICS

ALWAYS = ("params", "flops")
CAPTION = "T S B L XL H: as published, each in its own style; their φ is what their depth and width make together"


def print_family(members: Sequence[Member], base: ModelConfig, rule: ScaleRule, pair_from: str, format: Format) -> None:
    """Print members and below them the published variants in the same terms; `pair_from` says where the rule's pair is from."""
    matched = f", depth solved for {METRICS[rule.metric].name}" if rule.match else ""
    pair = f"α = {rule.alpha:.4g}, β = {rule.beta:.4g}{pair_from}"
    title = f"{base.short_name} (style {style_text(base)}) scaled by {pair}{matched}; {_counted(rule.metric)}"
    rows = [_row(member, rule.metric) for member in [*members, *published_family(base, rule)]]
    print_rows(rows, _columns(rule.metric), format=format, title=title, caption=CAPTION)


def _counted(metric: str) -> str:
    """What the costs are counted for."""
    return "FLOPs at 224 px" + (", memory of training 64 images in float32" if metric == "memory" else "")


def _row(member: Member, metric: str) -> Mapping[str, Any]:
    config = member.config
    return {
        "name": member.name or "scaled",
        "phi": member.phi,
        "variant": config.short_name,
        "style": style_of(config),
        "widths": "-".join(map(str, config.widths)),
        "depths": "-".join(map(str, config.depths)),
        _key(metric): member.size,
        **asdict(member.cost),
        f"asked_{_key(metric)}": member.asked,
        "size_error": member.size_error,
        "phi_width": member.phi_width,
        "phi_depth": member.phi_depth,
    }


def _columns(metric: str) -> list[Column]:
    return [
        text_column("name", ""),
        Column("phi", "φ", "{:.4g}".format),
        Column("phi_width", "φ of width", "{:.2f}".format, optional=True),
        Column("phi_depth", "φ of depth", "{:.2f}".format, optional=True),
        text_column("variant", "C1,C',L1,L3"),
        text_column("style", "style"),
        text_column("widths", "widths", optional=True),
        text_column("depths", "depths", optional=True),
        *map(metric_column, ALWAYS),
        *_size_columns(metric),
        Column("size_error", "size error", "{:+.1%}".format),
    ]


def _size_columns(metric: str) -> list[Column]:
    """The size that was asked for, behind the metric itself where it is none of those that are always there."""
    label, show = METRICS[metric].label, METRICS[metric].show
    if metric == "latency_ms":
        label, show = "latency (× base)", "{:.2f}".format
    further = [] if metric in ALWAYS else [Column(_key(metric), label, show)]
    return [*further, Column(f"asked_{_key(metric)}", f"asked ({label.partition(' (')[2]}", show, optional=True)]


def _key(metric: str) -> str:
    """The name of a size in rows; latency is known as a multiple of the base's only."""
    return "latency_times_base" if metric == "latency_ms" else metric
