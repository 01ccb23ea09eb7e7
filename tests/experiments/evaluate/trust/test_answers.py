"""Answers that are kept: asked again they are the same and cost nothing; asked otherwise they are drawn."""

import dataclasses

import pytest

from experiments.evaluate.loaded_model import load_model
from experiments.evaluate.trust.answers import Asking, answer, cache_path
from experiments.files import fingerprint

pytestmark = pytest.mark.usefixtures("cache_of_run")
ASKING = Asking(temperature=0.8, max_tokens=6, stop=())
PROMPTS = ["Returns", "the", "Returns"]


def unavailable():
    raise AssertionError("the checkpoint was asked")


def test_the_second_ask_is_identical_and_free_and_changed_settings_miss(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))
    loaded, key = load_model(run), fingerprint(run)
    first = answer(key, lambda: loaded, PROMPTS, ASKING, 2)
    assert first[0] == first[2] and first[0] != first[1]
    assert [len(each) for each in first] == [2, 2, 2]
    assert answer(key, unavailable, PROMPTS[::-1], ASKING, 2) == first[::-1]
    assert answer(key, unavailable, ["the"], ASKING, 1) == [first[1][:1]], "fewer are the first of more"
    changed = {"temperature": 0.7, "top_p": 0.9, "seed": 1, "max_tokens": 5, "stop": ("e",)}
    for name, value in changed.items():
        with pytest.raises(AssertionError, match="was asked"):
            answer(key, unavailable, ["the"], dataclasses.replace(ASKING, **{name: value}), 1)
    assert set(changed) == {field.name for field in dataclasses.fields(Asking)}
    with pytest.raises(AssertionError, match="was asked"):
        answer("another checkpoint", unavailable, ["the"], ASKING, 1)

    path = cache_path(key, ASKING)
    path.write_bytes(path.read_bytes()[:-5])  # a crash; the last is lost
    with pytest.raises(AssertionError, match="was asked"):
        answer(key, unavailable, PROMPTS, ASKING, 2)
    [more] = answer(key, lambda: loaded, ["the"], ASKING, 4)
    assert more[:2] == first[1], "what was lost is drawn as it was, and more begin with those there are"


def test_what_cannot_be_asked_is_refused(run):
    with pytest.raises(ValueError, match="the context of this checkpoint, 32, leaves no room"):
        answer("key", lambda: load_model(run), ["long " * 20], ASKING, 1)
    with pytest.raises(ValueError, match="k=0"):
        answer("key", unavailable, ["a"], ASKING, 0)
