"""What can go wrong for a user, drawn as a tree; the command line prints each as one line and exits with code 1.

ValueError                     bad input, raised by the lower packages with names, values and the rule
├── StoreError                 the store cannot be used (studies.database)
│   ├── StudyMismatch          the study exists with another configuration (studies.store)
│   └── Taken                  the study holds this candidate already (studies.trial_changes)
└── NasError                   the search cannot go on
    └── MissingExtra           an optional dependency is not installed
"""


class NasError(ValueError):
    """Something the user can mend; its text is the whole message."""


class MissingExtra(NasError):
    """An optional dependency is not installed; names the command that mends it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'nas-scaling[{extra}]'")
