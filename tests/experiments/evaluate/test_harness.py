"""The lm-evaluation-harness on our checkpoints gives the numbers that our own evaluation gives."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pandas as pd
import pytest

import models
from experiments.data.vocab import ByteVocab
from experiments.evaluate.tasks import task_metrics
from experiments.evaluate.tasks.loglikelihood import ScoringRow, score_all
from experiments.evaluate.tasks.responses import collect_responses
from experiments.evaluate.tasks.task import read_task
from experiments.posttraining.data.chat_template import load_template
from models import ladder
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from tests.extras import extra
from tests.tiny_run import isoflop

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


def write_task(folder: Path, items: list[dict], metric: str) -> str:
    """A task of the harness in the folder; what names it."""
    (folder / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    task = {
        "task": "parity",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "items.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "metadata": {"version": 1},
    } | SETTINGS[metric]
    (folder / "parity.yaml").write_text(json.dumps(task))  # JSON is YAML
    return f"{folder}/parity"


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
    theirs = harness.run(loaded, [write_task(tmp_path, items, metric)], bootstrap_iters=1000)["parity"]
    ending = ",strip" if metric == "exact_match" else ""
    names = [one["metric"] for one in SETTINGS[metric]["metric_list"]]
    for name in names:
        assert ours[name].value == theirs[name + ending].value
        assert ours[name].se == pytest.approx(theirs[name + ending].se)
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


def test_a_task_may_sample_each_repeat_anew(loaded):
    drawn = {"until": ["e"], "max_gen_toks": 8, "do_sample": True, "temperature": 0.7, "top_k": 50}
    kinds = [drawn, {"max_gen_toks": 8}]
    requests = [SimpleNamespace(args=("The number", kinds[i % 2])) for i in range(8)]
    first, again = (harness.HarnessModel(loaded, seed=1).generate_until(requests) for _ in range(2))
    assert first == again != harness.HarnessModel(loaded, seed=2).generate_until(requests)
    assert len({*first[::2]}) == 4 and len({*first[1::2]}) == 1
    assert all("e" not in text for text in first[::2])
    with pytest.raises(ValueError, match="num_beams=4; known are until"):
        harness.HarnessModel(loaded).generate_until([SimpleNamespace(args=("x", {"num_beams": 4}))])


def test_conversations_are_asked_in_the_very_tokens_of_the_template(loaded):
    taught = SimpleNamespace(**vars(loaded) | {"folder": Path("/nowhere")})
    taught.config = SimpleNamespace(seq_len=128, examples=SimpleNamespace(task="files", template="default"))
    model, template = harness.HarnessModel(taught), load_template("default", VOCAB)
    text = model.apply_chat_template([{"role": "user", "content": "2 + 2?"}])
    prompt = template.question("2 + 2?")
    [(nats, _)] = model.loglikelihood([SimpleNamespace(args=(text, "4"))])
    [expected] = score_all(loaded.model, loaded.params, [ScoringRow(prompt, list(VOCAB.encode("4")))])
    assert nats == expected.logprob
    settings = {"max_gen_toks": 4}
    [said] = model.generate_until([SimpleNamespace(args=(text, settings))])
    [[one]] = sample(
        loaded.model, loaded.params, [prompt], [0], SamplingSettings(temperature=0.0),
        max_tokens=4, eos_id=VOCAB.eos_id, token_bytes=VOCAB.token_bytes(),
    )  # fmt: skip
    assert said == one.text


def test_rolling_is_the_loss_of_the_text(loaded):
    [nats] = harness.HarnessModel(loaded).loglikelihood_rolling([SimpleNamespace(args=("Grüße",))])
    logits = loaded.model.apply(loaded.params, jax.numpy.array([[1, *VOCAB.encode("Grüße")]]))
    logprobs = jax.nn.log_softmax(logits)[0, :-1]
    expected = sum(float(row[token]) for row, token in zip(logprobs, VOCAB.encode("Grüße")))
    assert nats == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("cache_of_run")
def test_the_command_asks_tasks_of_the_harness_beside_a_text(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    short = [{"prompt": f"{i} is", "choices": ["even", "odd"], "target": i % 2} for i in range(20)]
    name = write_task(tmp_path, short, "multiple_choice")
    out = tmp_path / "r.csv"
    command = ("evaluate", str(run), "--split=test", f"--tasks=lm_eval:{name}", "--limit=8", f"--out={out}")
    assert isoflop(*command) == 0
    printed = capsys.readouterr().out
    assert "bits per byte" in printed and "lm_eval:parity   acc_norm" in printed
    table = pd.read_csv(out).set_index(["task", "metric"])
    assert 0 <= table.loc[("lm_eval:parity", "acc"), "value"] <= 1
    assert isoflop("evaluate", str(run), f"--tasks=lm_eval:{tmp_path}/party") == 2
    assert "the harness has no such task" in capsys.readouterr().err


def test_folders_without_task_files_are_not_searched(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    write_task(tmp_path / "a" / "b", [], "multiple_choice")
    harness.check([f"{tmp_path}/a/b/parity"])
    for name in (f"{tmp_path}/a/parity", f"{tmp_path}/a/b/../../parity", f"{tmp_path}/none/parity"):
        with pytest.raises(ValueError, match=f"lm_eval:{name}: there is no task file"):
            harness.check([name])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 21, 40])
def test_a_text_is_cut_as_the_harness_cuts_it(n):
    lm_eval = extra("lm_eval.utils", "lm-eval")
    tokens = list(range(100, 100 + n))
    theirs = map(lm_eval.make_disjoint_window, lm_eval.get_rolling_token_windows(tokens, 1, 8, 1))
    found = harness.rolling_windows([1, *tokens], 8)
    assert [(row.context, row.continuation) for row in found] == list(theirs)
