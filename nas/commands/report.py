"""Write a study's report."""

from pathlib import Path

import typer

from nas.errors import MissingExtra, NasError
from studies.store import Store
from trainer.whole_file import replacing

LOOKED_AT = 200  # bytes, at the beginning of a file


def report(name: str, out: Path, store: str, *, force: bool) -> None:
    """Write a study's report to `out`, whole or not at all; NasError for a file there that is something else, unless forced."""
    try:
        from dashboard.report import study_report
        from dashboard.report_page import MARK
    except ModuleNotFoundError as error:
        if error.name != "plotly":
            raise
        raise MissingExtra("nas report", "dashboard") from None
    text = study_report(Store(store, create=False), name)
    if not force and _is_another(out, MARK):
        raise NasError(f"{out} is no report of a study, so it stays as it is; choose another --out, or --force replaces it")
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out} ({len(text) / 1e6:.1f} MB)")


def _is_another(out: Path, mark: str) -> bool:
    """Whether there is a file without the mark of a report; one that cannot be read is left to the writing."""
    try:
        with out.open("rb") as file:
            return mark.encode() not in file.read(LOOKED_AT)
    except OSError:
        return False
