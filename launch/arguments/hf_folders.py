"""What belongs to a Hugging Face checkpoint besides the network: the run it is of, tokenizer files."""

import shutil
from pathlib import Path

RUN_FILE = "isoflop.json"  # the run that a checkpoint was exported from
# And what else belongs to a checkpoint besides the network; carried along unread.
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)


def copy_tokenizer_files(source: Path, target: Path) -> None:
    """Copies tokenizer and the like from one folder to another."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
