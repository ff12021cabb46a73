"""The `nas` command: each command parses, calls one function and prints; everything heavy is imported inside."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from nas.cli import compare, data, fidelity, fit, housekeeping, inspect, latency, report, scores, search, studies, tools, training, variants

COMMANDS: Mapping[str, Sequence[Callable[..., None] | typer.Typer]] = {  # by their panel in `nas --help`
    "Search": (search.search, studies.studies, studies.show, studies.pareto, studies.ledger, compare.compare, fit.fit, report.report),
    "Store": (studies.artifacts, housekeeping.trials, housekeeping.rename, housekeeping.copy, housekeeping.delete),
    "Variants": (variants.cost, variants.scale, variants.explain, variants.iso, scores.scores, latency.latency, variants.export),
    "Training": (training.train, training.evaluate, inspect.inspect, fidelity.fidelity, data.data_app),
    "Tools": (tools.doctor, tools.dashboard),
}

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", context_settings={"max_content_width": 110}
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from nas import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def nas(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")] = False,
) -> None:
    """Search, scale and export InternImage-like families of vision models under size budgets.

    Example: nas search --space stacking
    """


for panel, commands in COMMANDS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(command)


def main() -> None:
    """Run the command; what a user can mend becomes one line and exit code 1 (NAS_DEBUG=1 shows the traceback instead)."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        sys.exit(130)
    except ValueError as error:  # bad input, by the rule of the house: the message is the explanation
        if os.environ.get("NAS_DEBUG"):
            raise
        typer.echo(f"nas: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        explain = getattr(error, "format_message", None)  # Typer's own findings about flags, whose class it keeps to itself
        if explain is None:
            raise
        if not explain():  # no arguments: the help has been printed
            sys.exit(0)
        typer.echo(f"nas: {explain().replace(': Value error, ', ': ', 1)}", err=True)  # what Typer's parser of choices puts before
        sys.exit(1)
