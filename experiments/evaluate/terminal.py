"""Text that nobody vouches for, as a terminal may show it: of models, logs, files and error messages."""

import unicodedata


def printable(text: str) -> str:
    """`text` without characters that would steer the terminal."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)
