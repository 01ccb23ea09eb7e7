"""The lm-evaluation-harness on our checkpoints gives the numbers that our own evaluation gives."""

import json
import os
from types import SimpleNamespace
from typing import Any

import jax
import pytest

import models
from experiments.data.vocab import ByteVocab
from experiments.evaluate.tasks import task_metrics
from experiments.evaluate.tasks.responses import collect_responses
from experiments.evaluate.tasks.task import read_task
from models import ladder
from tests.extras import extra

pytestmark = pytest.mark.slow
os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
harness = extra("experiments.evaluate.harness", "lm-eval")

VOCAB = ByteVocab()
ITEMS = [
    {
        "prompt": f"The number {i} is",
        "choices": ["even, says É", "odd", "neither"][: 2 + i % 2],
        "target": i % 2,
    }
    for i in range(40)
]
SETTINGS = {
    "multiple_choice": {
        "doc_to_target": "target",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
    },
    "cloze": {
        "output_type": "loglikelihood",
        "doc_to_target": "{{choices[target]}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    },
    "exact_match": {
        "output_type": "generate_until",
        "doc_to_target": "{{choices[target]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        "filter_list": [
            {
                "name": "strip",
                "filter": [
                    {"function": "regex", "regex_pattern": r"^\s*(.*?)\s*$"},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [{"metric": "exact_match"}],
    },
}


@pytest.fixture(scope="module")
def loaded() -> Any:
    model = models.build(ladder(16, VOCAB.size))
    params = jax.jit(model.init)(jax.random.key(0))
    # Sharper than an untrained model, so that choices differ.
    params = jax.tree.map(lambda leaf: leaf * 3, params)
    about = {"config": SimpleNamespace(seq_len=128), "token_bytes": VOCAB.token_bytes, "end_ids": ()}
    return SimpleNamespace(model=model, params=params, vocab=VOCAB, **about)


@pytest.mark.parametrize("metric", SETTINGS)
def test_a_local_task(loaded, metric, tmp_path, monkeypatch):
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "ISOFLOP_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    file = tmp_path / "parity.jsonl"
    # What an untrained model says is known only by asking it.
    items = ITEMS if metric == "multiple_choice" else generated(loaded)
    header = {"metric": metric, "max_tokens": 4, "delimiter": "" if metric == "cloze" else " "}
    file.write_text("".join(json.dumps(one) + "\n" for one in [header, *items]))
    ours = {
        r.metric: r.estimate
        for r in task_metrics.results(collect_responses("x", lambda: loaded, read_task(str(file))))
    }
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    task = {
        "task": "parity",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "items.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "metadata": {"version": 1},
    } | SETTINGS[metric]
    (tmp_path / "parity.yaml").write_text(json.dumps(task))  # JSON is YAML
    theirs = harness.run(loaded, ["parity"], str(tmp_path), bootstrap_iters=1000)["parity"]
    ending = "strip" if metric == "exact_match" else "none"
    names = [one["metric"] for one in SETTINGS[metric]["metric_list"]]
    for name in names:
        assert ours[name].value == theirs[f"{name},{ending}"]
        assert ours[name].se == pytest.approx(theirs[f"{name}_stderr,{ending}"])
    assert any(0 < ours[name].value < 1 for name in names)


def generated(loaded) -> list[dict]:
    """The items, every third with what the model says as its right answer."""
    requests = [SimpleNamespace(args=(one["prompt"], {"until": ["\n"], "max_gen_toks": 4})) for one in ITEMS]
    model = harness.HarnessModel(loaded)
    said = model.generate_until(requests[::3])
    reported = [
        one | {"choices": [text.strip() or "x", "no"], "target": 0} for one, text in zip(ITEMS[::3], said)
    ]
    return reported + ITEMS[1::3]


def test_rolling_is_the_loss_of_the_text(loaded):
    [nats] = harness.HarnessModel(loaded).loglikelihood_rolling([SimpleNamespace(args=("Grüße",))])
    logits = loaded.model.apply(loaded.params, jax.numpy.array([[1, *VOCAB.encode("Grüße")]]))
    logprobs = jax.nn.log_softmax(logits)[0, :-1]
    expected = sum(float(row[token]) for row, token in zip(logprobs, VOCAB.encode("Grüße")))
    assert nats == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 21, 40])
def test_a_text_is_cut_as_the_harness_cuts_it(n):
    lm_eval = extra("lm_eval.utils", "lm-eval")
    tokens = list(range(100, 100 + n))
    theirs = map(lm_eval.make_disjoint_window, lm_eval.get_rolling_token_windows(tokens, 1, 8, 1))
    found = harness.rolling_windows([1, *tokens], 8)
    assert [(row.context, row.continuation) for row in found] == list(theirs)
