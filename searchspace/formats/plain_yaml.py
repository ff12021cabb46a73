"""YAML to and from plain values: no aliases, no tags of its own, no key twice, and 1e-5 is a number."""

import re
from typing import Any

import yaml

from searchspace.formats.plain import MAX_DEPTH, unique_keys

MAX_NODES = 20_000
MAX_DIGITS = 100  # YAML 1.1 writes numbers in base 60 too, whose reading takes quadratic time
_TAG = "tag:yaml.org,2002:"
_EXPONENT = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
_FIRST = list("-+.0123456789")
_BREAKS = set("\r\x85\u2028\u2029\ufeff")
_TEXT = ("str", "timestamp", "value")


class _Loader(yaml.SafeLoader):
    """Builds nodes within bounds, which turn a text that would grow without limit into an error."""

    depth = nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError(f"line {self._line()}: aliases (*name) are not read; write the value out")
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise ValueError(f"line {self._line()}: more than {MAX_NODES:,} values or {MAX_DEPTH} levels")
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def plain(self, node: yaml.Node) -> Any:
        """A node as a plain value; ValueError for tags and numbers that are none."""
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.plain(inner) for inner in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return unique_keys([(self._key(key), self.plain(value)) for key, value in node.value])
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        raise ValueError(f"line {_line_of(node)}: the tag {node.tag!r} is not read")

    def _key(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError(f"line {_line_of(node)}: a key must be text")
        return self._scalar(node)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in _TEXT:
            return node.value
        construct = {
            "null": self.construct_yaml_null,
            "bool": self.construct_yaml_bool,
            "int": self.construct_yaml_int,
            "float": self.construct_yaml_float,
        }.get(kind)
        if construct is None or len(node.value) > MAX_DIGITS:
            raise ValueError(f"line {_line_of(node)}: the tag {node.tag!r} is not read with {node.value[:40]!r}")
        try:
            return construct(node)
        except (ValueError, KeyError, IndexError):
            raise ValueError(f"line {_line_of(node)}: {node.value!r} is no {kind}") from None

    def _line(self) -> int:
        return int(self.peek_event().start_mark.line) + 1  # type: ignore[no-untyped-call]


class _Dumper(yaml.SafeDumper):
    """Quotes text that the loader would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Text with line breaks other than \\n in quotation marks, where they are written as escapes and survive."""
    return dumper.represent_scalar(f"{_TAG}str", text, style='"' if _BREAKS & set(text) else None)


_Dumper.add_representer(str, _text)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(f"{_TAG}float", _EXPONENT, _FIRST)


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML text; ValueError names the line and what is wrong in it."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else loader.plain(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(f"not readable as YAML: {_problem(error)}") from None


def dump_yaml(values: Any, *, flow: bool | None = False) -> str:
    """Plain values as YAML text in their order; `flow=None` keeps lists and mappings without inner ones on one line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=120)


def _problem(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark and problem else str(error)


def _line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
