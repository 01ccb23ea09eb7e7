"""From answers to numbers, computed by hand; and what is asked once is not asked again."""

import json
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import models
from experiments.data.vocab import ByteVocab
from experiments.evaluate import metrics
from experiments.evaluate.answers import Answers, ask, log_path
from experiments.evaluate.calibration import of_confidence
from experiments.evaluate.task import Item, Task, read_task
from models.presets import ladder

VOCAB = ByteVocab()
CHOICE = Task("t", "multiple_choice", (), (), "")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def subject():
    model = models.build(ladder(16, VOCAB.size))
    params = jax.jit(model.init)(jax.random.key(0))
    return SimpleNamespace(model=model, params=params, vocab=VOCAB, config=SimpleNamespace(seq_len=64))


def answered(metric: str, *pairs) -> Answers:
    items = tuple(item for item, _ in pairs)
    task = Task("t", metric, items, items, "", chance=0.5, ceiling=1.0)
    return Answers(task, items, tuple(record for _, record in pairs), ())


def choice(prompt: str, *logprobs: float, right: int = 0, document: str = "") -> tuple[Item, dict]:
    choices = ("ab", "é", "ccccccc")[: len(logprobs)]
    return Item(prompt, choices[right], choices, document), {"logprobs": list(logprobs)}


def test_multiple_choice_by_hand():
    # By sum "é" wins, by character "ccccccc" (-0.6), by byte "ccccccc" too ("é" has two bytes).
    values = metrics.item_values(CHOICE, *choice("x", -4, -3, -4.2, right=2))
    assert (values["acc"], values["acc_norm"], values["acc_bytes"]) == (0, 1, 1)
    weights = [math.exp(p) for p in (-4, -3, -4.2)]
    probs = [w / sum(weights) for w in weights]
    assert values["prob"] == pytest.approx(probs[2])
    assert values["brier"] == pytest.approx(probs[0] ** 2 + probs[1] ** 2 + (1 - probs[2]) ** 2)


def test_of_equal_choices_the_first_is_taken():
    assert metrics.item_values(CHOICE, *choice("x", -1, -1))["acc"] == 1
    assert metrics.item_values(CHOICE, *choice("x", -1, -1, right=1))["acc"] == 0


def test_generated_text_is_compared_without_white_space_at_its_ends():
    task, item = Task("t", "exact_match", (), (), ""), Item("2 + 2 =", "4")
    assert metrics.item_values(task, item, {"text": " 4 ", "finish": "stop"}) == {"exact_match": 1}
    assert metrics.item_values(task, item, {"text": "4!", "finish": "stop"}) == {"exact_match": 0}


def test_a_difference_takes_the_items_that_both_were_asked():
    a = answered("multiple_choice", choice("1", -1, -2), choice("2", -1, -2), choice("3", -2, -1))
    b = answered("multiple_choice", choice("3", -2, -1), choice("2", -2, -1))
    assert metrics.difference(a, b).value == pytest.approx(0.5)


def test_calibration_by_hand():
    found = of_confidence(np.array([0.55, 0.55, 0.95, 0.95]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert found.ece == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert found.brier == pytest.approx((0.45**2 + 0.55**2 + 2 * 0.05**2) / 4)
    assert found.brier == pytest.approx(found.reliability - found.resolution + found.uncertainty)
    assert [one.n for one in found.bins] == [2, 2]


def test_a_model_that_says_what_it_knows_is_calibrated():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 20000)
    right = (rng.random(20000) < confidence).astype(float)
    assert of_confidence(confidence, right).ece < 0.02
    assert of_confidence(np.minimum(confidence + 0.2, 1), right).ece > 0.1


def write(path, *lines) -> Task:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_task(str(path))


@pytest.mark.parametrize("metric", ["multiple_choice", "cloze", "exact_match"])
def test_asked_once_and_then_read(subject, tmp_path, metric):
    lines = [{"prompt": f"{i} is", "choices": ["even", "odd"], "target": i % 2} for i in range(32)]
    task = write(tmp_path / "t.jsonl", {"metric": metric, "max_tokens": 4}, *lines)
    few = ask("abc", lambda: subject, task, limit=16)
    seen = []
    found = ask("abc", lambda: subject, task, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (32, 32) and seen[0][0] > 16
    assert found.records[:16] == few.records

    def never():
        raise AssertionError("opened though all is known")

    assert ask("abc", never, task).records == found.records
    with pytest.raises(AssertionError):
        ask("another checkpoint", never, task)
    log = log_path("abc", task, 0, 0).read_text().splitlines()
    assert sorted(json.loads(line)["i"] for line in log) == list(range(32))


def test_greedy_generation_and_cloze_agree(subject, tmp_path):
    """The target is generated exactly where each of its tokens is the likeliest."""
    prompts = [f"number {i}:" for i in range(6)]
    generate = {"metric": "exact_match", "max_tokens": 5, "stop": "", "delimiter": ""}
    task = write(tmp_path / "a.jsonl", generate, *({"prompt": p, "target": "x"} for p in prompts))
    said = ask("s", lambda: subject, task)
    texts = [record["text"] for record in said.records]
    told = [(p, t) for p, t in zip(prompts, texts) if t.strip() and len(t.encode()) == 5]
    assert told
    cloze = {"metric": "cloze", "delimiter": ""}
    lines = [{"prompt": p, "target": t} for p, t in told]
    lines += [{"prompt": p, "target": t[:-1] + "~"} for p, t in told]
    found = ask("s", lambda: subject, write(tmp_path / "b.jsonl", cloze, *lines))
    assert [record["greedy"] for record in found.records] == [True] * len(told) + [False] * len(told)


def test_what_is_too_long_is_reported_by_line_and_the_rest_is_asked(subject, tmp_path):
    lines = [{"prompt": "x" * n, "choices": ["a", "b"], "target": 0} for n in (10, 62, 63, 200)]
    found = ask("abc", lambda: subject, write(tmp_path / "t.jsonl", *lines))
    # 1 + n + 2 tokens, the last of which is not read: 64 are the context.
    assert [item.line for item in found.items] == [1, 2]
    assert [one.line for one in found.broken] == [3, 4]
    assert "context of this checkpoint is 64" in found.broken[0].reason
    with pytest.raises(ValueError, match="no item can be asked"):
        ask("abc", lambda: subject, write(tmp_path / "u.jsonl", lines[-1]))
