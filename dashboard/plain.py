"""Text of a store as Markdown that shows it letter by letter."""

import re

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")


def as_text(text: str) -> str:
    """`text` with every character that Markdown or a Streamlit directive would read as markup escaped, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
