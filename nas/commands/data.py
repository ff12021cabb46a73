"""Pack image files, and print what packed ones hold."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from nas.output import Column, Format, print_json, print_rows, text_column
from trainer.dataset_spec import parse_dataset
from trainer.packing.pack import OnProgress
from trainer.packing.pack import pack as pack_images
from trainer.packing.packed import CHECKED_BYTES, Packed, open_packed
from trainer.packing.sources import list_images
from trainer.splits import SPLITS, class_counts, split_rule

SHOWN = 10  # class names and damaged images in a table; JSON has all of them


def pack(source: str, out: Path, size: int, workers: int | None, format: Format) -> None:
    """Pack a source and print what came of it."""
    listing = list_images(parse_dataset(source))
    processes = workers or len(os.sched_getaffinity(0))
    try:
        with _progress() as show:
            pack_images(listing, out, size=size, workers=processes, on_progress=show)
    except KeyboardInterrupt:
        typer.echo("nas: stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    info(out, False, format)


def info(path: Path, verify: bool, format: Format) -> None:
    """Check packed images and print what they hold."""
    packed = open_packed(path, verify=verify)
    checked = "all images" if verify or packed.images.nbytes <= CHECKED_BYTES else "a sample of the images; --verify reads them all"
    if format == "json":
        _print_json(path, packed, checked)
    elif format == "csv":
        rows = [{"class": name, **counts} for name, counts in _counts(packed).items()]
        print_rows(rows, [text_column("class", "class"), *(Column(split, split) for split in SPLITS)], format=format)
    else:
        rows = [{"what": what, "value": value} for what, value in _lines(packed, checked).items()]
        print_rows(rows, [text_column("what", "what"), text_column("value", "value", folds=True)], format=format, title=str(path))


def _print_json(path: Path, packed: Packed, checked: str) -> None:
    meta = packed.meta.to_dict()
    for bulky in ("chunks", "labels_sha256", "splits_sha256", "class_names"):
        del meta[bulky]
    print_json({"path": str(path), **meta, "images": packed.meta.images, "classes": _counts(packed), "checked": checked})


def _counts(packed: Packed) -> dict[str, dict[str, int]]:
    """By class, how many images each split has."""
    counts = class_counts(packed.labels, packed.splits, len(packed.meta.class_names)).T
    return {name: dict(zip(SPLITS, row.tolist(), strict=True)) for name, row in zip(packed.meta.class_names, counts, strict=True)}


def _lines(packed: Packed, checked: str) -> dict[str, str]:
    meta, counts = packed.meta, class_counts(packed.labels, packed.splits, len(packed.meta.class_names))
    per_split = {
        split: f"{row.sum():,} images, {row.min():,} to {row.max():,} of a class"
        for split, row in zip(SPLITS, counts, strict=True)
        if row.any()
    }
    damaged = [f"{damage.name} ({damage.reason})" for damage in meta.damaged]
    return {
        "images": f"{meta.images:,} of {meta.size} × {meta.size} pixels, {meta.smaller:,} of them enlarged",
        "classes": f"{len(meta.class_names):,}: {_some(meta.class_names, ', ')}",
        **per_split,
        "splits": split_rule(packed.splits),
        "source": meta.source,
        "damaged": f"{len(damaged):,} left out: {_some(damaged, '; ')}" if damaged else "none",
        **({"unlabelled": f"{meta.unlabelled:,} left out"} if meta.unlabelled else {}),
        "fingerprint": meta.fingerprint,
        "checked": checked,
    }


def _some(names: tuple[str, ...] | list[str], between: str) -> str:
    return between.join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """What shows progress on standard error: a bar in a terminal, a line for every tenth elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _line_for_every_tenth(console.print)
        return
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("decoding", total=None)
        yield lambda seen, total: progress.update(task, completed=seen, total=total)


def _line_for_every_tenth(write: Callable[[str], None]) -> OnProgress:
    reached = -1

    def show(seen: int, total: int) -> None:
        nonlocal reached
        if 10 * seen // total > reached:
            reached = 10 * seen // total
            write(f"decoded {seen:,} of {total:,} images")

    return show
