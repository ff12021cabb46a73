"""Writes variants as files that other projects read, with where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.api import Study, open_study
from nas.errors import NasError
from nas.export_weights import CARRIERS, WeightsSource, check_carrier, export_network, intact, trained
from nas.kept_weights import recorded_weights
from nas.placing import place
from searchspace.formats import FORMATS, VariantDocument, format_named, load_document
from searchspace.styles import style_of
from searchspace.switch_flags import with_settings
from studies.provenance import trial_document as document_of
from studies.provenance import versions
from studies.records import Trial
from studies.store import Store

PROGRAMS = set(CARRIERS) - set(FORMATS)  # of no use without weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to export: trials of a study, its front, or a variant by name, numbers or file; ValueError unless it is one of them."""

    study: str | None = None
    trials: Sequence[int] = ()
    front: bool = False
    variant: str | None = None
    style: str | None = None
    settings: Sequence[str] = ()

    def __post_init__(self) -> None:
        chosen = [
            flag for flag, given in (("--trial", self.trials), ("--front", self.front), ("--variant", self.variant is not None)) if given
        ]
        if len(chosen) != 1:
            raise ValueError(f"choose one of --trial N, --front and --variant VARIANT, got {' and '.join(chosen) or 'none'}")
        if (self.study is None) != (self.variant is not None):
            raise ValueError(f"{chosen[0]} {'needs a' if self.study is None else 'takes no'} study, got {self.study or 'none'}")
        for flag, given in (("--style", self.style), ("--set", self.settings)):
            if given and self.variant is None:
                raise ValueError(f"{flag} goes with --variant only, got {flag} with {chosen[0]}")


def export(choice: Choice, *, format: str, out: Path, store: str, weights: WeightsSource | None = None) -> list[Path]:
    """Write what was chosen to `out` and return the files or folders, in order; all texts are made and all files of weights looked at
    before the first is written.

    Without `weights`, formats that cannot do without get those that the search recorded. ValueError for an unknown format or a switch that
    it cannot express, and for weights that are missing, too many or another variant's; StoreError for an unknown study or trial; NasError
    for a trial without an architecture, an empty front, recorded weights that are gone or changed, and a folder that cannot be written.
    A store is opened for trials and fronts only.
    """
    if weights is None and format not in PROGRAMS:
        known = format_named(format)
        return [place(out, files) for files in [known.write(document) for document in _chosen(choice, store)[1]]]
    weights = weights or WeightsSource()
    check_carrier(format)
    if choice.study is None and weights.path is None:
        asked = f"the format {format!r}" if format in PROGRAMS else "--as-proxy" if weights.as_proxy else "--image-size"
        raise ValueError(f"{asked} needs a trained network: --weights FILE, or a trial whose weights a search has recorded")
    study, documents = _chosen(choice, store)
    if weights.path is not None and len(documents) > 1 and not weights.path.is_dir():
        raise ValueError(f"one file of weights fills one variant, not {len(documents)}; name the folder that holds those of each")
    networks = [trained(document, weights, weights.path or _recorded(study, document), format=format) for document in documents]
    return [export_network(network, format=format, out=out) for network in networks]


def export_trial(study: Study, number: int, *, format: str, out: Path) -> Path:
    """Write a trial's variant to `out` and return the file or folder; it appears whole or not at all. Errors as for `export`."""
    return export_document(trial_document(study, study.trial(number)), format=format, out=out)


def export_document(document: VariantDocument, *, format: str, out: Path) -> Path:
    """Write a variant to `out` and return the file or folder; errors as for `export`."""
    return place(out, format_named(format).write(document))


def trial_document(study: Study, trial: Trial) -> VariantDocument:
    """A trial's variant with its provenance; NasError for a trial without an architecture."""
    try:
        return document_of(study.name, trial)
    except ValueError as error:
        raise NasError(str(error)) from None


def variant_document(text: str, style: str | None = None, settings: Sequence[str] = ()) -> VariantDocument:
    """A variant by name, numbers or file, with what it was called and, for a file, its own provenance; no folder, host or user.

    `settings` such as `kernel_size=5` change single fields.
    """
    found = load_document(text, style=style)
    config = with_settings(found.config, settings)
    origin = {
        "variant": Path(text).name or text,
        "style": style_of(config),
        **({"settings": list(settings)} if settings else {}),
        "origin": dict(found.provenance),
        "exported_with": versions(),
    }
    return VariantDocument("-".join([found.name, *settings]), config, origin)


def _chosen(choice: Choice, store: str) -> tuple[Study | None, list[VariantDocument]]:
    if choice.variant is not None:
        return None, [variant_document(choice.variant, choice.style, choice.settings)]
    assert choice.study is not None, "a choice of trials names its study"
    study = open_study(choice.study, store=Store(store, create=False))
    trials = [study.trial(number) for number in ([trial.number for trial in study.front()] if choice.front else choice.trials)]
    if not trials:
        bounds = " and ".join(bound.text for bound in study.constraints)
        raise NasError(f"study {study.name!r} has no complete trial{f' that meets {bounds}' if bounds else ''}, so its front is empty")
    return study, [trial_document(study, trial) for trial in trials]


def _recorded(study: Study | None, document: VariantDocument) -> Path:
    """The file of the weights that were recorded of a trial, looked through."""
    assert study is not None, "only trials have recorded weights"
    found, number = recorded_weights(study.store, study.record), document.provenance["trial"]
    if number not in found:
        raise NasError(
            f"no weights are recorded of trial {number} of {study.name!r}: searches keep those of the front, with "
            "--keep-weights all those of every trial; --weights names a file"
        )
    return intact(found[number])
