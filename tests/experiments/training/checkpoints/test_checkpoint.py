"""Checkpoints: what is loaded is what was saved, readers change nothing, wrong folders are named."""

import contextlib

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.checkpoints.checkpoint import HASHES, Checkpoints, Unreadable, newest_step
from experiments.training.checkpoints.load import load


def save(folder, step: int, value: float) -> None:
    checkpoints = Checkpoints(folder)
    checkpoints.save(step, {"w": jnp.full(3, value)}, {"m": jnp.zeros(2)}, {"step": step})
    checkpoints.close()


def test_the_newest_is_restored_item_by_item(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path / "checkpoints", step, 0.1 * step)
    restored = Checkpoints(tmp_path / "checkpoints").restore(params={"w": jnp.zeros(3)}, meta=None)
    assert restored is not None and restored["meta"] == {"step": 3} and "opt_state" not in restored
    np.testing.assert_array_equal(restored["params"]["w"], np.full(3, 0.3, np.float32))


def test_what_changes_after_save_returns_is_not_in_the_checkpoint(tmp_path):
    """It is written behind the training loop's back, which goes on appending to its list of losses."""
    for step in range(1, 9):
        checkpoints, meta = Checkpoints(tmp_path), {"recent": [0.5] * step}
        checkpoints.save(step, {"w": jnp.ones(3)}, {"m": jnp.zeros(2)}, meta)
        meta["recent"] += [0.1] * 1000
        checkpoints.close()
        restored = Checkpoints(tmp_path).restore(meta=None)
        assert restored is not None and restored["meta"] == {"recent": [0.5] * step}


def test_reading_past_a_damaged_checkpoint_leaves_it_and_saving_replaces_it(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    save(folder, 1, 0.1)
    save(folder, 2, 0.2)
    for path in (folder / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    checkpoints = Checkpoints(folder)
    restored = checkpoints.restore(params={"w": jnp.zeros(3)}, meta=None)
    assert restored is not None and restored["meta"] == {"step": 1} and (folder / "2").is_dir()
    assert capsys.readouterr().err.count("cannot be read") == 1
    checkpoints.save(2, {"w": jnp.full(3, 0.5)}, {"m": jnp.zeros(2)}, {"step": 2})
    checkpoints.close()
    again = Checkpoints(folder).restore(params={"w": jnp.zeros(3)}, meta=None)
    assert again is not None and again["meta"] == {"step": 2} and float(again["params"]["w"][0]) == 0.5


def test_the_newest_step_is_found_by_names_alone(tmp_path):
    assert newest_step(tmp_path) == 0
    for name in ("7", "12", "30.orbax-checkpoint-tmp", "notes"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest_step(tmp_path) == 12


def test_one_that_is_damaged_says_so_and_is_not_read(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, keep=None)
    for step in range(1, 5):
        checkpoints.save(step, {"w": jnp.full(3, 0.1)}, {"m": jnp.zeros(2)}, {"step": step})
    checkpoints.close()
    assert Checkpoints(tmp_path, keep=None).steps() == {1, 2, 3, 4}
    for path in (tmp_path / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    again = Checkpoints(tmp_path, keep=None)
    with pytest.raises(Unreadable, match="2 cannot be read"):
        again.read(2, meta=None)
    assert again.read(3, meta=None) == {"meta": {"step": 3}} and again.damaged == {2}


def test_no_flipped_byte_is_read_as_a_parameter(tmp_path):
    """Of any file of what is read; what is not read need not be whole."""
    save(tmp_path, 1, 0.1)
    files = [file for file in (tmp_path / "1").rglob("*") if file.is_file() and file.stat().st_size]
    assert {file.relative_to(tmp_path / "1").parts[0] for file in files} > {"params", "opt_state", "meta"}
    drawn = np.random.default_rng(0)
    for file in files:
        whole = file.read_bytes()
        at = drawn.integers(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << drawn.integers(8))]) + whole[at + 1 :])
        read = [{}, {}]
        for found, item in zip(read, ("params", "opt_state")):
            like = {"params": {"w": jnp.zeros(3)}, "opt_state": {"m": jnp.zeros(2)}}[item]
            with contextlib.suppress(Unreadable):
                found |= Checkpoints(tmp_path).read(1, **{item: like})
        part = file.relative_to(tmp_path / "1").parts[0]
        assert (
            bool(read[0]) == (part != "params") and bool(read[1]) == (part != "opt_state")
        ) or part == HASHES
        if read[0]:
            np.testing.assert_array_equal(read[0]["params"]["w"], np.full(3, 0.1, np.float32))
        file.write_bytes(whole)


def test_folders_that_are_no_run_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        load(tmp_path)
