"""Safetensors folders: shards, damage, wholeness, and memory of about one copy of the model."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import hf
from models.hf.files import Tensors, whole_folder, write_tensors

FOLDER = Path("tests/data/hf/olmoe")


def write_shards(folder: Path, **index) -> dict[str, str]:
    """The checkpoint of FOLDER in three files with an index; returns the index's map."""
    tensors = load_file(FOLDER / "model.safetensors")
    names, where = sorted(tensors), {}
    for i in range(3):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        save_file({name: tensors[name] for name in names[i::3]}, folder / file)
        where |= dict.fromkeys(names[i::3], file)
    (folder / "config.json").write_bytes((FOLDER / "config.json").read_bytes())
    described = {"metadata": {"total_size": 0}, "weight_map": where | index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(described))
    return where


def test_shards_with_an_index_are_one_checkpoint(tmp_path):
    write_shards(tmp_path)
    (config, params), (expected, single) = hf.load(tmp_path), hf.load(FOLDER)
    assert config == expected
    jax.tree.map(np.testing.assert_array_equal, params, single)


def test_a_large_model_is_written_in_shards(tmp_path):
    config, params = hf.load(FOLDER)
    hf.save(config, params, tmp_path / "out", shard_bytes=20_000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted(tmp_path.glob("out/*.safetensors"))
    assert [path.name for path in files] == [
        f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)
    ]
    assert len(files) > 3 and max(path.stat().st_size for path in files) < 20_000 + 5_000  # and a header
    whole = load_file(FOLDER / "model.safetensors")
    assert index["weight_map"].keys() == whole.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in whole.values())
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / "out" / file)[name], whole[name])
    _, again = hf.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_the_library_reads_what_we_write(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
        "scalar": np.float32(3),
        "empty": np.zeros((0, 4), np.float32),
        "ключ": np.ones(3, np.float32),
    }
    write_tensors(tmp_path, [(name, a.shape, lambda a=a: a) for name, a in arrays.items()])
    read = load_file(tmp_path / "model.safetensors")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].shape == np.shape(array)


def test_an_index_that_is_wrong_is_named(tmp_path):
    where = write_shards(tmp_path, **{"model.more": "model-00002-of-00003.safetensors"})
    with pytest.raises(ValueError, match=r"index\.json: says that model\.more is in model-00002"):
        hf.load(tmp_path)
    for file in ("model-00004-of-00003.safetensors", "../model.safetensors"):
        write_shards(tmp_path, **{next(iter(where)): file})
        with pytest.raises(ValueError, match=r"index\.json: names the file model.*which is not in"):
            hf.load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match="weight_map"):
        hf.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("content", ["{", "[" * 100_000, ""])
def test_damaged_json_of_a_checkpoint_is_named(name, content, tmp_path):
    write_shards(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}: not JSON"):
        hf.load(tmp_path)


def test_folders_that_are_no_checkpoints_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        hf.load(tmp_path)
    (tmp_path / "config.json").write_bytes((FOLDER / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor .*pickles are not read"):
        hf.load(tmp_path)
    good = (FOLDER / "model.safetensors").read_bytes()
    for damaged in (
        b"",
        good[:5],
        good[:3000],
        good[:-4],
        b"\xff" * 8 + good[8:],
        good[:8] + b"{" + good[8:],
    ):
        (tmp_path / "model.safetensors").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors: not a whole safetensors file"):
            Tensors(tmp_path)


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "a" / "out") as temporary:
        (temporary / "file").write_text("half")
        assert not (tmp_path / "a" / "out").exists()
        raise RuntimeError
    assert not list((tmp_path / "a").iterdir())
    (tmp_path / "out").mkdir()  # an empty folder is taken
    with whole_folder(tmp_path / "out") as temporary:
        (temporary / "file").write_text("whole")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]
    with pytest.raises(ValueError, match="is there already"), whole_folder(tmp_path / "out"):
        raise AssertionError("it must not get here")


MEASURE = """
import resource, sys, jax
from models import hf
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
hf.save(*hf.load("tests/data/hf/llama"), sys.argv[2] + "/small")
before = peak()
config, params = hf.load(sys.argv[1])
loaded = peak()
hf.save(config, params, sys.argv[2] + "/large")
size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
print(size, loaded - before, peak() - before)
"""


@pytest.mark.slow
def test_loading_and_saving_take_the_memory_of_one_copy(tmp_path):
    fields = json.loads(Path("tests/data/hf/llama/config.json").read_text())
    fields |= {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 9, "head_dim": 128}
    fields |= {"vocab_size": 4000}
    _, config = hf.config_json.config_from_json(fields)
    shapes = hf.shapes_of(config)
    wanted = hf.tensors_of(hf.config_json.llama.entries(config), shapes)
    write_tensors(
        tmp_path, [(s.name, s.shape, lambda s=s: np.ones(s.shape, np.float32)) for s in wanted], 30_000_000
    )
    (tmp_path / "config.json").write_text(json.dumps(fields))
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, loaded, saved = map(int, done.stdout.split())
    assert 100e6 < size < 150e6
    assert loaded < 1.2 * size, f"loading {size / 1e6:.0f} MB took {loaded / 1e6:.0f} MB"
    assert saved < 1.3 * size, f"saving it after that {saved / 1e6:.0f} MB"
