"""The versioned document that carries a variant between programs: architecture, style, cost and provenance."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from searchspace.cost import cost
from searchspace.formats.plain import check_plain
from searchspace.formats.plain_yaml import dump_yaml
from searchspace.model_config import ModelConfig
from searchspace.styles import style_of

FORMAT = "nas-variant"
VERSION = 1
KEYS = ("format", "version", "name", "style", "model", "cost", "provenance")
COST_IMAGE_SIZE, COST_CLASSES = 224, 1000


@dataclass(frozen=True, slots=True)
class VariantDocument:
    """A variant under a name, and where it comes from; ValueError for provenance that is not plain."""

    name: str
    config: ModelConfig
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_plain(self.provenance, "provenance")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; style and cost are there for readers and follow from the architecture."""
        size = asdict(cost(self.config, COST_IMAGE_SIZE, COST_CLASSES))
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "style": style_of(self.config),
            "model": self.config.to_dict(),
            "cost": {"image_size": COST_IMAGE_SIZE, "num_classes": COST_CLASSES, **size},
            "provenance": dict(self.provenance),
        }

    def to_json(self, *, lines: bool = True) -> str:
        """`to_dict` as JSON, indented or on one line of ASCII."""
        if not lines:
            return json.dumps(self.to_dict(), allow_nan=False)
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_yaml(self) -> str:
        """`to_dict` as YAML."""
        return dump_yaml(self.to_dict())

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The document of `to_dict`; ValueError names the key and the rule."""
        if not isinstance(values, Mapping) or values.get("format") != FORMAT:
            raise ValueError(f"not an exported variant: the key format must be {FORMAT!r}")
        if values.get("version") != VERSION:
            raise ValueError(f"version {values.get('version')!r} is not known, this program reads version {VERSION}")
        if unknown := sorted(set(map(str, values)) - set(KEYS)):
            raise ValueError(f"unknown keys {unknown}; known: {', '.join(KEYS)}")
        model, provenance = values.get("model"), values.get("provenance") or {}
        if not isinstance(model, Mapping) or not isinstance(provenance, Mapping):
            raise ValueError("model and provenance must be mappings")
        return cls(str(values.get("name", "")), ModelConfig.from_dict(model), provenance)
