"""What belongs to a Hugging Face checkpoint besides the network: its tokenizer and what is said of tokens."""

import json
import shutil
from pathlib import Path

from experiments.data.vocabularies.hugging_face import special_ids
from experiments.data.vocabularies.vocab import byte_letters
from experiments.files import read_json

HUB_BLOBS = "../../blobs"  # what links of a snapshot in the hub's cache point to
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
    """Copies tokenizer and the like from one folder to another; what their config.json says of tokens goes to
    generation_config.json, as a run has a config.json of its own.

    Raises:
      ValueError: one of them is a link to a file outside the checkpoint, which may be anything of the user's.
    """
    for file in (source / name for name in TOKENIZER_FILES if (source / name).is_file()):
        if not any(file.resolve().is_relative_to(home.resolve()) for home in (source, source / HUB_BLOBS)):
            raise ValueError(f"{file} is a link to {file.resolve()}; put the file itself there")
        shutil.copyfile(file, target / file.name)
    if said := special_ids(source):
        file = target / "generation_config.json"
        kept = read_json(file) if file.is_file() else {}
        file.write_text(json.dumps(kept | said, indent=1) + "\n", encoding="utf-8")


def write_byte_tokenizer(folder: Path) -> None:
    """Writes the byte vocabulary as a tokenizer.json: merges of byte-level BPE, of which there are none.

    With special tokens, which is transformers' default, a text begins with the token that ends one.
    """
    special = {"<pad>": 0, "</s>": 1, "<unk>": 2}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    letters = {letter: byte + 3 for byte, letter in enumerate(byte_letters())}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    begin, text = ({"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}})
    second = {"Sequence": {"id": "B", "type_id": 0}}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name} | flags for name, i in special.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, second],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": special | letters, "merges": []},
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "</s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
    }
    ids = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
