"""Looking at what has been searched."""

from nas.cli.options import Store, StudyName, Table
from studies.records import DEFAULT_STORE


def studies(store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List the studies of a store. Example: nas studies --store sqlite:///nas.db"""
    from nas.commands import studies as commands

    commands.studies(store, format)


def show(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List a study's trials, infeasible and failed ones with their reason. Example: nas show stacking"""
    from nas.commands import studies as commands

    commands.show(study, store, format)


def pareto(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """Print a study's Pareto front. Example: nas pareto stacking --format csv"""
    from nas.commands import studies as commands

    commands.pareto(study, store, format)


def artifacts(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """List the files that a study's trials left: weights of trained networks. Example: nas artifacts stacking"""
    from nas.commands import studies as commands

    commands.artifacts(study, store, format)


def ledger(study: StudyName, store: Store = DEFAULT_STORE, format: Table = "table") -> None:
    """Print where a study's device-seconds went: training, sampling, retries, idle slots. Example: nas ledger stacking"""
    from nas.commands import studies as commands

    commands.ledger(study, store, format)
