"""The token cache: what is written is what is read, and damage is named before anyone trains on it."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.data import cache
from experiments.data.cache import (
    EOS,
    SPLITS,
    Encoded,
    is_whole,
    open_cache,
    publish,
    write_manifest,
    write_split,
)

DOCUMENTS = {
    split: [[9 + i, 70_000 % (100 + i), EOS] for i in range(n)] for split, n in zip(SPLITS, (30, 3, 2))
}
UINT16, UINT32 = np.dtype("<u2"), np.dtype("<u4")
TOKENIZER = {"name": "bytes", "size": 259, "eos_id": EOS, "sha256": "0"}


def make(folder, documents=DOCUMENTS, dtype=UINT16, tokenizer=TOKENIZER):
    splits = {}
    for split, texts in documents.items():
        batches = [
            Encoded(
                np.concatenate(part),
                np.array([len(text) for text in part]),
                np.array([len(text) - 1 for text in part]),
                [""] * len(part),
            )
            for part in (texts[:2], texts[2:])
            if part
        ]
        splits[split] = write_split(folder, split, batches, dtype)
    write_manifest(folder, {"dtype": dtype.str, "tokenizer": tokenizer, "splits": splits})
    return folder


def read_documents(found):
    return [found.tokens[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:])]


def test_cache_gives_back_its_documents(tmp_path):
    make(tmp_path)
    for split in SPLITS:
        found = open_cache(tmp_path, split)
        assert sorted(read_documents(found)) == sorted(DOCUMENTS[split])
        assert found.n_documents == len(DOCUMENTS[split]) == found.manifest["splits"][split]["n_documents"]
        assert found.n_bytes == 2 * len(DOCUMENTS[split])
    assert is_whole(tmp_path)


def test_cache_order_does_not_depend_on_the_order_of_arrival(tmp_path):
    reverse = {split: texts[::-1] for split, texts in DOCUMENTS.items()}
    one, other = make(tmp_path / "a"), make(tmp_path / "b", reverse)
    assert np.array_equal(open_cache(one, "train").tokens, open_cache(other, "train").tokens)
    assert read_documents(open_cache(one, "train")) != DOCUMENTS["train"]  # shuffled


def test_cache_stores_large_vocabularies(tmp_path):
    documents = {split: [[70_000, EOS]] for split in SPLITS}
    make(tmp_path, documents, UINT32)
    assert open_cache(tmp_path, "test").tokens.tolist() == [70_000, EOS]


def test_cache_may_have_an_empty_split(tmp_path):
    make(tmp_path, DOCUMENTS | {"test": []})
    found = open_cache(tmp_path, "test")
    assert found.n_documents == len(found.tokens) == 0


def test_fingerprint_names_tokens_and_tokenizer(tmp_path):
    def fingerprint(name, **changes):
        return open_cache(make(tmp_path / name, **changes), "train").manifest["fingerprint"]

    first = fingerprint("a")
    assert first == fingerprint("b")
    assert first != fingerprint("c", documents=DOCUMENTS | {"test": [[5, EOS]]})
    assert first != fingerprint("d", tokenizer=TOKENIZER | {"sha256": "1"})


def test_cache_cannot_be_written_through(tmp_path):
    with pytest.raises(ValueError, match="read-only"):
        open_cache(make(tmp_path), "train").tokens[0] = 0


def flip_a_bit(folder: Path) -> None:
    """Of a token that has been read in this process before."""
    file = folder / "validation/tokens.bin"
    open_cache(folder, "validation")
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 4
    file.write_bytes(whole)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: (folder / "train/tokens.bin").unlink(), "train/tokens.bin is missing"),
        (
            lambda folder: (folder / "test/documents.bin").write_bytes(b"1234"),
            "documents.bin has 4 bytes where",
        ),
        (flip_a_bit, "validation/tokens.bin is not as it was written"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is not JSON"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing; prepare"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 0}'), "not of format"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    make(tmp_path)
    damage(tmp_path)
    assert not is_whole(tmp_path)
    with pytest.raises(ValueError, match=message):
        for split in SPLITS:
            open_cache(tmp_path, split)


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'valid' does not exist; a token cache has train, validation, test"):
        open_cache(make(tmp_path), "valid")


def test_publish_replaces_what_was_there(tmp_path):
    make(tmp_path / "final", DOCUMENTS | {"test": [[5, EOS]]})
    before = open_cache(tmp_path / "final", "test")
    make(tmp_path / ".new")
    publish(tmp_path / ".new", tmp_path / "final")
    assert open_cache(tmp_path / "final", "test").n_documents == len(DOCUMENTS["test"])
    assert before.tokens.tolist() == [5, EOS]  # whoever has it open keeps it


def test_manifest_states_format_and_sizes(tmp_path):
    manifest = json.loads((make(tmp_path) / "manifest.json").read_text())
    assert manifest["format"] == cache.FORMAT
    assert manifest["splits"]["train"]["n_tokens"] == 90
    assert len(manifest["splits"]["train"]["sha256"]) == 64
