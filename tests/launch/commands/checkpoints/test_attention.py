"""`isoflop attention`: a picture of any decoder that attends, and one line of those that do not."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import models
from experiments.fields import to_json
from experiments.training.checkpoints.checkpoint import Checkpoints
from experiments.training.checkpoints.load import read_config
from models import ladder
from tests.tiny_run import isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")


def another(run, folder, model):
    """A run like it with another network."""
    config = dataclasses.replace(read_config(run), model=model)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(to_json(config)))
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(
        1, jax.jit(models.build(model).init)(jax.random.key(0)), {"none": np.zeros(1)}, {"step": 1}
    )
    checkpoints.close()
    return folder


def test_a_picture_of_layers_heads_and_experts(run, tmp_path, capsys):
    assert isoflop("attention", str(run), "--prompt", "Grüße", "--out", str(tmp_path / "a.png")) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'}: 2 layers of 2 heads, 8 tokens\n"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    mixture = another(run, tmp_path / "moe", ladder(16, 259, "moe"))
    assert isoflop("attention", str(mixture), "--prompt", "ab", "--out", str(tmp_path / "a.html")) == 0
    assert "3 tokens, routing to 8 experts" in capsys.readouterr().out
    page = (tmp_path / "a.html").read_text()
    assert page.count("experts of each token") == 2 and ">end</text>" in page


def test_what_has_no_maps_or_no_place_is_said_in_one_line(run, tmp_path, capsys):
    recurrent = another(run, tmp_path / "rwkv7", ladder(16, 259, "rwkv7"))
    for folder, prompt, out, said in (
        (
            recurrent,
            "a",
            "a.png",
            "is of family rwkv7, without maps of attention: its layers hand on a state",
        ),
        (run, "a" * 32, "a.png", "--prompt of 33 tokens; 32 of this checkpoint can be drawn"),
        (run, "a", "a.jpg", "it is a .png or .html file"),
    ):
        assert isoflop("attention", str(folder), "--prompt", prompt, "--out", str(tmp_path / out)) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
