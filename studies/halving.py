"""Early stopping by asynchronous successive halving: which trials go on at which epochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """Successive halving: at each rung, epochs growing by `eta` from `min_epochs` on, the best of every `eta` trials go on.

    With the mode "stop" a trial goes on at once while it is among the best so far; with "promote" it waits at the rung until it is.
    """

    mode: Literal["stop", "promote"] = "stop"
    eta: int = 3
    min_epochs: int = 1

    def __post_init__(self) -> None:
        if self.mode not in ("stop", "promote"):
            raise ValueError(f"mode must be stop or promote, got {self.mode!r}")
        for name, least in (("eta", 2), ("min_epochs", 1)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise ValueError(f"{name} must be whole and at least {least}, got {getattr(self, name)!r}")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self | None:
        """That of a study's stored configuration, if it stops trials early; ValueError for what cannot be one."""
        content = config.get("halving")
        try:
            return None if content is None else cls(**content)
        except TypeError as error:
            raise ValueError(f"halving cannot be {content!r}") from error

    def milestones(self, epochs: int) -> tuple[int, ...]:
        """The epochs of the rungs of a training of `epochs`: min_epochs · eta^k, all below the last epoch."""
        rungs = []
        milestone = self.min_epochs
        while milestone < epochs:
            rungs.append(milestone)
            milestone *= self.eta
        return tuple(rungs)
