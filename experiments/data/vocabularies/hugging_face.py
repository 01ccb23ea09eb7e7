"""The tokenizer of a Hugging Face folder, or of a run that keeps one's files beside its config.json, and what
else such a folder says of tokens: which begin a text, end it, and start a decoder."""

from pathlib import Path
from typing import Any

from experiments.data.vocabularies.vocab import ByteVocab, HuggingFaceVocab, SentencePieceVocab, Vocab
from experiments.files import read_json

MODELS = ("tokenizer.json", "tokenizer.model", "spiece.model")
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def hugging_face_vocab(folder: Path) -> Vocab:
    """tokenizer.json, or a SentencePiece model with the tokens that were added to it, or bytes (ByT5).

    A prompt begins as the tokenizer begins a text: with Llama's <s>, GPT-2's and Qwen's with nothing. Of a
    network with an encoder it has the end of a text behind it, and the token that starts the decoder: what
    transformers' `generate` is given.

    Raises:
      ValueError: none of these is there, or no token that ends a text.
    """
    said, settings = special_ids(folder), tokenizer_settings(folder)
    if "ByT5" in str(settings.get("tokenizer_class")):
        vocab = ByteVocab()
        vocab.begin_ids, vocab.source_end_ids = (), _source_end(said, vocab.eos_id)
        return vocab
    file = next((folder / name for name in MODELS if (folder / name).is_file()), None)
    if file is None:
        raise ValueError(
            f"{folder} has no tokenizer that can be read: {', '.join(MODELS[:-1])} or {MODELS[-1]}; if its "
            "tokens are bytes, isoflop import it with --vocab bytes"
        )
    if file.suffix == ".json":
        vocab = HuggingFaceVocab(file, -1)
        vocab.begin_ids = vocab.ids_in_front()
    else:
        vocab = SentencePieceVocab(file, _added_tokens(folder, settings, SentencePieceVocab(file)))
        vocab.begin_ids = ()
        bos_id = vocab.id_of(_text(settings.get("bos_token")) or "<s>")
        if bos_id is not None and settings.get("add_bos_token", file.name == "tokenizer.model"):
            vocab.begin_ids = (bos_id,)
    named = _text(settings.get("eos_token"))
    eos_id = said["eos_token_id"][0] if "eos_token_id" in said else vocab.id_of(named) if named else None
    if eos_id is None:
        raise ValueError(f"{folder}/config.json has no eos_token_id; documents need a token that ends them")
    vocab.eos_id, vocab.source_end_ids = eos_id, _source_end(said, eos_id)
    return vocab


def has_tokenizer(folder: Path) -> bool:
    """Whether there is one that `hugging_face_vocab` knows."""
    by_bytes = "ByT5" in str(tokenizer_settings(folder).get("tokenizer_class"))
    return by_bytes or any((folder / name).is_file() for name in MODELS)


def special_ids(folder: Path) -> dict[str, Any]:
    """What config.json and generation_config.json say of SPECIAL; "eos_token_id" is a list, each once."""
    found: dict[str, Any] = {}
    ends: dict[int, None] = {}
    for file in (folder / "config.json", folder / "generation_config.json"):
        values = read_json(file) if file.is_file() else {}
        found = {name: values[name] for name in SPECIAL if values.get(name) is not None} | found
        ids = values.get("eos_token_id")
        ends |= dict.fromkeys(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return found | ({"eos_token_id": list(ends)} if ends else {})


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json; {} where there is none."""
    file = folder / "tokenizer_config.json"
    return read_json(file) if file.is_file() else {}


def _source_end(said: dict[str, Any], eos_id: int) -> tuple[int, ...]:
    start = said.get("decoder_start_token_id")
    return () if start is None else (eos_id, start)


def _added_tokens(folder: Path, settings: dict[str, Any], model: SentencePieceVocab) -> dict[str, int]:
    """Ids of tokens that a SentencePiece model does not read in a text, by their text."""
    file = folder / "added_tokens.json"
    found = dict(read_json(file)) if file.is_file() else {}
    listed = settings.get("added_tokens_decoder", {})
    found |= {str(_text(token)): int(i) for i, token in listed.items()}
    n_extra = 0 if listed else int(settings.get("extra_ids", 0))  # T5's, numbered from the end
    found |= {f"<extra_id_{i}>": model.size + n_extra - 1 - i for i in range(n_extra)}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        text = _text(settings.get(name))
        i = model.id_of(text) if text else None
        found |= {} if i is None or text in found else {str(text): i}
    return found


def _text(token: Any) -> str | None:
    """A token's text, which may stand among its settings."""
    return token.get("content") if isinstance(token, dict) else token
