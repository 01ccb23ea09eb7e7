"""Hugging Face folders as others write them: a golden network with a small tokenizer of letters."""

import json
import shutil
import string
from pathlib import Path

from tests.extras import extra

GOLDENS = Path("tests/data/hf")
LETTERS = [*string.ascii_lowercase, " ", ":", "?", ".", "\n"]
CHATML = (
    "{% for m in messages %}{{ '<start>' + m.role + '\n' + m.content + '<end>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>assistant\n' }}{% endif %}"
)


def write_tokenizer(folder: Path, begin: str = "", end: str = "") -> None:
    """A tokenizer.json with four special tokens and LETTERS; `begin` and `end` are those around a text."""
    tokenizers = extra("tokenizers", "dev")
    special = ["<pad>", "</s>", "<start>", "<end>"]
    vocab = {token: i for i, token in enumerate([*special, *LETTERS])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    made.decoder = tokenizers.decoders.Fuse()
    made.add_special_tokens(special)
    around = [(token, vocab[token]) for token in (begin, end) if token]
    form = f"{begin} $A {end}".strip()
    made.post_processor = tokenizers.processors.TemplateProcessing(form, special_tokens=around)
    made.save(str(folder / "tokenizer.json"))


def foreign_folder(folder: Path, golden: str, *, begin: str = "", end: str = "", **said) -> Path:
    """A copy of a golden checkpoint with that tokenizer, a chat template, and `said` in its config.json."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(GOLDENS / golden / name, folder / name)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | said))
    write_tokenizer(folder, begin, end)
    return folder
