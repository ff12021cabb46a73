"""Arguments and flags that several commands take."""

from typing import Annotated

import typer

from nas.output import Format

Store = Annotated[str, typer.Option("--store", envvar="NAS_STORE", metavar="URL", help="SQL database with the studies.")]
Table = Annotated[Format, typer.Option("--format", help="How to print: for people, programs or spreadsheets.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study; `nas studies` lists them.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Field to change, such as kernel_size=5; repeat.")]
Style = Annotated[str | None, typer.Option(help="Bundle of switches: t, s, l, h or g.")]
