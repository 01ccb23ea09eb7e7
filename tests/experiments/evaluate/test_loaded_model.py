"""What is evaluated: runs and Hugging Face folders with their vocabularies, or a clear line why not."""

import json
import shutil
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.vocab import (
    ByteVocab,
    HuggingFaceVocab,
    SentencePieceVocab,
    hugging_face_vocab,
    prompt_ids,
)
from experiments.data_configs import DataConfig
from experiments.evaluate.loaded_model import load_model, placeholder_run
from models import ladder
from tests.extras import extra
from tests.tiny_run import isoflop

TEXT = st.text(st.characters(codec="utf-8"))
CORPUS = [f"the number {i} and the word number {i * i}, größer" for i in range(500)]


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "hf"
    assert isoflop("export", str(run), "--out", str(folder)) == 0
    return folder


@pytest.fixture
def foreign(exported, tmp_path):
    """A Hugging Face folder that says nothing of us, without a tokenizer."""
    folder = shutil.copytree(exported, tmp_path / "hf")
    (folder / "isoflop.json").unlink()
    for file in folder.glob("tokenizer*"):
        file.unlink()
    say(folder, eos_token_id=1)
    return folder


def say(folder, **values) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps((json.loads(config.read_text()) if config.is_file() else {}) | values))


def test_what_was_exported_is_the_run(run, exported):
    ours, theirs = load_model(run), load_model(exported)
    assert (ours.folder, theirs.folder) == (run, exported) and isinstance(theirs.vocab, ByteVocab)
    assert replace(theirs.config, model=ours.config.model) == ours.config
    tokens = np.arange(3, 35)[None]
    one, other = (jax.jit(each.model.apply)(each.params, tokens) for each in (ours, theirs))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_foreign_folder_needs_a_tokenizer_that_can_be_read(foreign):
    with pytest.raises(ValueError, match=r"has no tokenizer that can be read: tokenizer\.json"):
        load_model(foreign)
    (foreign / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    loaded = load_model(foreign)
    assert loaded.vocab.encode("a") == [100] and loaded.config.seq_len == 32
    assert loaded.config.data.vocab == "imported"


def test_a_foreign_folder_may_name_several_ends_and_each_ends_a_text(foreign, capsys):
    (foreign / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    assert load_model(foreign).end_ids == ()
    say(foreign, eos_token_id=[1, 300])
    (foreign / "generation_config.json").write_text(json.dumps({"eos_token_id": [*range(1, 259)]}))
    assert load_model(foreign).end_ids == (300, *range(2, 259))
    asked = ["--prompt", "ab", "--max_tokens", "9", "--temperature", "0", "--json"]
    assert isoflop("sample", str(foreign), *asked) == 0
    [one] = json.loads(capsys.readouterr().out)["samples"]
    assert len(one["tokens"]) == 1 and one["finish"] in ("stop", "eos")


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model"])
def test_a_foreign_sentencepiece_model_is_read(tmp_path, name):
    from experiments.data.vocabularies.training import train_sentencepiece

    (tmp_path / name).write_bytes(train_sentencepiece([text.encode() for text in CORPUS], 300))
    say(tmp_path, model_type="llama", eos_token_id=[7, 8])
    vocab = hugging_face_vocab(tmp_path)
    assert vocab.eos_id == 7 and vocab.decode(vocab.encode("the number")) == "the number"
    say(tmp_path, eos_token_id=None)
    with pytest.raises(ValueError, match="no eos_token_id; documents need a token that ends them"):
        hugging_face_vocab(tmp_path)


def test_tokens_that_were_added_to_a_sentencepiece_model_are_read_by_name(tmp_path):
    from experiments.data.vocabularies.training import train_sentencepiece

    (tmp_path / "spiece.model").write_bytes(train_sentencepiece([text.encode() for text in CORPUS], 300))
    plain = SentencePieceVocab(tmp_path / "spiece.model")
    say(tmp_path, eos_token_id=1, decoder_start_token_id=0)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>", "extra_ids": 2}')
    vocab = hugging_face_vocab(tmp_path)
    words = plain.encode("the number")
    assert vocab.encode("the number<extra_id_0>the number</s>") == [*words, 301, *words, 1]
    assert (vocab.size, vocab.decode([*words, 301, 1]), vocab.token_bytes()[299:]) == (
        302,
        "the number",
        [plain.token_bytes()[299], b"", b""],
    )
    assert prompt_ids(vocab, "the number") == [
        *words,
        1,
        0,
    ]  # what T5's encoder reads, and its decoder's start
    listed = {"300": {"content": "<tool>", "special": True}}
    settings = {"eos_token": {"content": "</s>"}, "extra_ids": 2, "added_tokens_decoder": listed}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert hugging_face_vocab(tmp_path).encode("<tool>the number") == [300, *words]


def test_a_context_is_what_the_network_is_meant_for_and_not_too_long():
    data = DataConfig("imported", "", "imported", 259)

    def context(max_len: int, **how) -> int:
        return placeholder_run(ladder(16, 259, max_len=max_len), data, **how).seq_len

    assert (context(512), context(4096), context(0)) == (512, 2048, 2048)
    assert context(512, seq_len=4096) == 4096
    assert placeholder_run(ladder(16, 259, "rwkv7"), data).seq_len == 2048  # has no length


def test_a_tokenizer_needs_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    say(tmp_path, eos_token_id=0)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: reading it needs the tokenizers .*pip install"):
        hugging_face_vocab(tmp_path)


@pytest.fixture(scope="module")
def tokenizers():
    return extra("tokenizers", "hf")


@pytest.fixture(scope="module")
def by_bytes(tokenizers, tmp_path_factory) -> HuggingFaceVocab:
    """As GPT-2's, but that every text would end with a special token."""
    folder = tmp_path_factory.mktemp("bytes")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<end>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    made.add_tokens(["€€"])
    made.post_processor = tokenizers.processors.TemplateProcessing("$A <end>", special_tokens=[("<end>", 0)])
    made.save(str(folder / "tokenizer.json"))
    say(folder, eos_token_id=0)
    found = hugging_face_vocab(folder)
    assert isinstance(found, HuggingFaceVocab)
    return found


@pytest.mark.slow
@given(text=TEXT)
def test_tokens_of_bytes_say_the_text(by_bytes, text):
    said = by_bytes.token_bytes()
    for each in (text, f"the number {text}€€"):
        ids = by_bytes.encode(each)
        assert 0 not in ids and b"".join(said[i] for i in ids) == each.encode()
        assert by_bytes.decode(np.array(ids, int)) == each


@pytest.mark.slow
def test_a_special_token_says_nothing_and_each_has_its_bytes(by_bytes):
    said = by_bytes.token_bytes()
    assert len(said) == by_bytes.size and said[0] == b""
    assert len(by_bytes.encode("the number")) < len("the number")  # it has learnt something


@pytest.mark.slow
@given(text=TEXT.filter(lambda text: "\u2581" not in text))
def test_tokens_of_words_say_the_text_and_a_space_in_front(by_words, text):
    said = by_words.token_bytes()
    ids = by_words.encode(f"the {text}")
    assert b"".join(said[i] for i in ids) == f" the {text}".encode()


@pytest.fixture(scope="module")
def by_words(tokenizers, tmp_path_factory) -> HuggingFaceVocab:
    """As Llama's: words begin with U+2581, and a character that is not known is spelt in bytes."""
    file = tmp_path_factory.mktemp("words") / "tokenizer.json"
    letters = sorted({letter for text in CORPUS for letter in text} - {" "} | {"\u2581"})
    pieces = [
        "<unk>",
        "<end>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *letters,
        "th",
        "the",
        "\u2581the",
    ]
    merges = [("t", "h"), ("th", "e"), ("\u2581", "the")]
    bpe = tokenizers.models.BPE(
        {piece: i for i, piece in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True
    )
    made = tokenizers.Tokenizer(bpe)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    made.add_special_tokens(["<unk>", "<end>"])
    made.save(str(file))
    return HuggingFaceVocab(file, 1)
