"""What belongs to a Hugging Face checkpoint besides the network: the run it is of, tokenizer files."""

import shutil
from pathlib import Path

RUN_FILE = "isoflop.json"  # the run that a checkpoint was exported from
HUB_BLOBS = "../../blobs"  # what links of a snapshot in the hub's cache point to
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
    """Copies tokenizer and the like from one folder to another.

    Raises:
      ValueError: one of them is a link to a file outside the checkpoint, which may be anything of the user's.
    """
    for file in (source / name for name in TOKENIZER_FILES if (source / name).is_file()):
        if not any(file.resolve().is_relative_to(home.resolve()) for home in (source, source / HUB_BLOBS)):
            raise ValueError(f"{file} is a link to {file.resolve()}; put the file itself there")
        shutil.copyfile(file, target / file.name)
