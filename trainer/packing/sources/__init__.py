"""Collections of image files that can be packed, one module for each kind."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from trainer.dataset_spec import DatasetSpec
from trainer.packing.sources.cifar import list_cifar
from trainer.packing.sources.imagefolder import list_imagefolder
from trainer.packing.sources.listing import Listing
from trainer.packing.sources.parquet import list_parquet
from trainer.splits import check_names, check_splits

LISTERS: Mapping[str, Callable[[Path], Listing]] = {
    "imagefolder": list_imagefolder,
    "cifar10": partial(list_cifar, version="cifar10"),
    "cifar100": partial(list_cifar, version="cifar100"),
    "parquet": list_parquet,
}


def list_images(spec: DatasetSpec) -> Listing:
    """What the source holds, undecoded; ValueError for a data set that is none, for missing files and for classes that cannot be split."""
    if spec.name not in LISTERS or spec.path is None:
        raise ValueError(f"{spec.name} is no source of image files; those are {', '.join(LISTERS)}")
    try:
        listing = LISTERS[spec.name](Path(spec.path).expanduser())
    except OSError as error:
        raise ValueError(f"cannot read {error.filename or spec}: {error.strerror or error}") from None
    try:
        check_names(listing.class_names)
        check_splits(listing.labels, listing.splits, listing.class_names)
    except ValueError as error:
        raise ValueError(f"{spec}: {error}") from None
    return replace(listing, source=str(spec))
