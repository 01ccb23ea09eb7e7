"""`isoflop import`: Hugging Face's checkpoints become runs and go back as they were; what is refused."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import models
from experiments.data.vocab import prompt_ids
from experiments.evaluate.loaded_model import chat_template, load_model
from experiments.training.checkpoints.load import load
from models import hf
from tests.extras import extra
from tests.foreign_folder import CHATML, LETTERS, foreign_folder
from tests.tiny_run import isoflop

GOLDEN = Path("tests/data/hf/qwen3")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_an_imported_checkpoint_is_a_run_and_exports_as_it_was(tmp_path, capsys):
    source = tmp_path / "hub"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes((GOLDEN / name).read_bytes())
    (source / "tokenizer.json").write_text("{}")
    assert isoflop("import", str(source), "--out", str(tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert "parameters, transformer" in said and "no tokenizer: " in said and "by token ids" in said
    config, params = load(tmp_path / "run")
    model, expected = hf.load(GOLDEN)
    assert (config.model, config.seq_len) == (model, 128)  # max_position_embeddings
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert json.loads((tmp_path / "run" / "import.json").read_text())["from"] == str(source)
    assert isoflop("sample", str(tmp_path / "run"), "--prompt", "A") == 2
    assert "tokenizer.json is no tokenizer that can be read" in capsys.readouterr().err
    assert isoflop("export", str(tmp_path / "run"), "--out", str(tmp_path / "out")) == 0
    assert "Qwen3ForCausalLM" in capsys.readouterr().out
    before, after = load_file(GOLDEN / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"


def test_a_foreign_tokenizer_stays_with_the_checkpoint_through_training_and_back_out(tmp_path, capsys):
    """Wherever the folders that it came from have gone."""
    hub = foreign_folder(tmp_path / "hub", "qwen3", begin="<start>", eos_token_id=1)
    settings = {"eos_token": "</s>", "chat_template": CHATML}
    (hub / "tokenizer_config.json").write_text(json.dumps(settings))
    (hub / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 1], "temperature": 0.6}))
    theirs = load_model(hub)
    assert isoflop("import", str(hub), "--out", str(tmp_path / "run"), "--seq_len=64") == 0
    said = capsys.readouterr().out
    assert "tokenizer of 35 tokens, a chat template; a text ends with 1 or 3" in said
    shutil.rmtree(hub)
    run = (tmp_path / "run").rename(tmp_path / "moved")
    ours = load_model(run)
    for loaded in (theirs, ours):
        assert prompt_ids(loaded.vocab, "hello") == [2, *(LETTERS.index(c) + 4 for c in "hello")]
        assert (loaded.vocab.eos_id, loaded.end_ids) == (1, (3,))

    data = tmp_path / "a.jsonl"
    turns = [{"role": "user", "content": "say a"}, {"role": "assistant", "content": "ok"}]
    for i in range(60):
        turns[0]["content"] = f"say {LETTERS[i % 26]}{LETTERS[i // 26]}"
        with open(data, "a") as file:
            file.write(json.dumps({"messages": turns}) + "\n")
    flags = ("--epochs=10", "--batch_size=4", "--lr=0.03")
    assert isoflop("sft", str(run), str(data), "--out", str(tmp_path / "taught"), *flags) == 0
    shutil.rmtree(run)
    taught = (tmp_path / "taught").rename(tmp_path / "taught2")
    capsys.readouterr()
    assert isoflop("sample", str(taught), "--chat", "--prompt=say q", "--temperature=0") == 0
    assert capsys.readouterr().out == "say q\nok\n"
    assert isoflop("export", str(taught), "--out", str(tmp_path / "out")) == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["eos_token_id"] == [1, 3]
    assert json.loads((tmp_path / "out/tokenizer_config.json").read_text()) == settings
    (tmp_path / "out/isoflop.json").unlink()  # transformers' folders have none
    back, taught = load_model(tmp_path / "out"), load_model(taught)
    assert chat_template(back).question("say q") == chat_template(taught).question("say q")
    jax.tree.map(np.testing.assert_array_equal, back.params, taught.params)


def test_an_encoder_and_decoder_are_asked_as_transformers_asks_them(tmp_path, capsys):
    """The source ends with the end of a text, and the decoder starts with its own token."""
    hub = foreign_folder(tmp_path / "hub", "t5", end="</s>")
    greedy = ("--prompt=hello", "--temperature=0", "--max_tokens=6", "--json")
    assert isoflop("sample", str(hub), *greedy) == 0
    found = json.loads(capsys.readouterr().out)
    source = [LETTERS.index(c) + 4 for c in "hello"] + [1]
    assert found["prompt_tokens"] == [*source, 0]
    config, params = hf.load(hub)
    model, tokens = models.build(config), [0]
    source_BS = np.zeros((1, 8), np.int32)
    source_BS[0, :6] = source
    apply = jax.jit(model.apply)
    for _ in range(6):
        padded_BT = np.pad([tokens], ((0, 0), (0, 7 - len(tokens))))
        logits_BTV = apply(params, padded_BT, source_BS=source_BS, source_mask_BS=np.arange(8)[None] < 6)
        tokens.append(int(logits_BTV[0, len(tokens) - 1].argmax()))
    assert found["samples"][0]["tokens"] == tokens[1:]


@pytest.mark.slow
def test_greedy_text_is_that_of_generate(tmp_path, capsys):
    transformers = extra("transformers", "hf")
    for golden, around in (("t5", {"end": "</s>"}), ("llama", {"begin": "<start>"}), ("qwen3", {})):
        folder = foreign_folder(tmp_path / golden, golden, eos_token_id=1, **around)
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        kind = "AutoModelForSeq2SeqLM" if golden == "t5" else "AutoModelForCausalLM"
        model = getattr(transformers, kind).from_pretrained(folder)
        asked = tokenizer("hello there", return_tensors="pt")
        ids = model.generate(asked.input_ids, do_sample=False, max_new_tokens=12)[0].tolist()
        expected = ids[1:] if golden == "t5" else ids[asked.input_ids.shape[1] :]
        capsys.readouterr()
        flags = ("--prompt=hello there", "--temperature=0", "--max_tokens=12", "--json")
        assert isoflop("sample", str(folder), *flags) == 0
        assert json.loads(capsys.readouterr().out)["samples"][0]["tokens"] == expected


def test_the_context_and_the_compute_type_can_be_chosen(tmp_path):
    arguments = ["--out", str(tmp_path / "run"), "--seq_len", "16", "--dtype", "bfloat16"]
    assert isoflop("import", str(GOLDEN), *arguments) == 0
    config, _ = load(tmp_path / "run")
    assert (config.seq_len, config.model.dtype) == (16, "bfloat16")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([str(GOLDEN)], "usage: isoflop import DIR_HF --out CKPT"),
        (["tests/data", "--out", "OUT"], "tests/data is no checkpoint: it has no config.json"),
        (
            [str(GOLDEN), "--out", "OUT", "--vocab", "bytes"],
            f"--vocab bytes needs 259 tokens; {GOLDEN} has 64",
        ),
        ([str(GOLDEN), "--out", "tests/data"], "is there already"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(arguments, said, tmp_path, capsys):
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    assert isoflop("import", *arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
