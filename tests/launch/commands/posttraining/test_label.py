"""`isoflop label`: from a policy's own samples to pairs that it is tuned on."""

import json

import pytest

from tests.tiny_run import isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s.jsonl"], "expected samples, --reward and --out"),
        (["s.jsonl", "--reward=gold", "--out=pairs.csv"], "are read from a .jsonl file"),
        (["s.jsonl", "--reward=gold", "--out=p.jsonl"], "no such file"),
        (["s.jsonl", "--reward=gold", "--out=nowhere/p.jsonl"], "--out nowhere/p.jsonl"),  # before any reward
    ],
)
def test_wrong_input_is_refused_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isoflop("label", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error and not (tmp_path / "p.jsonl").exists()


@pytest.mark.slow
def test_a_policy_is_tuned_on_its_own_samples_by_a_reward_model(run, tmp_path, capsys):
    """It was taught to say "ok" and "no" alike; a reward model that likes "ok" makes it say that."""
    conversations = [
        {"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": answer}]}
        for i in range(120)
        for answer in ("ok", "no")
    ]
    pairs = [{"prompt": f"say {i}", "chosen": "ok", "rejected": "no"} for i in range(120)]
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": f"say {i}"} for i in range(40)])
    sft, reward, dpo = (str(tmp_path / name) for name in ("sft", "reward", "dpo"))
    flags = ["--lr=0.01", "--batch_size=8", "--epochs=8"]
    assert isoflop("sft", str(run), write(tmp_path / "c.jsonl", conversations), "--out", sft, *flags) == 0
    assert isoflop("reward", sft, write(tmp_path / "p.jsonl", pairs), "--out", reward, *flags) == 0
    capsys.readouterr()

    def sampled(policy):
        asked = ["--chat", "--prompts", prompts, "--n=4", "--max_tokens=6"]
        assert isoflop("sample", policy, *asked) == 0
        return capsys.readouterr().out

    before = sampled(sft)
    (tmp_path / "samples.jsonl").write_text(before)
    made = tmp_path / "made.jsonl"
    arguments = [str(tmp_path / "samples.jsonl"), "--reward", reward, "--out", str(made)]
    assert isoflop("label", *arguments) == 0
    assert "pairs of 40 prompts · reward" in capsys.readouterr().out
    assert lines(made) and {pair["chosen"] for pair in lines(made)} == {"ok"}
    assert isoflop("dpo", sft, str(made), "--out", dpo, "--lr=0.01", "--batch_size=4", "--epochs=8") == 0
    capsys.readouterr()

    def share(text):
        said = [one["text"] for line in text.splitlines() for one in json.loads(line)["samples"]]
        return said.count("ok") / len(said)

    assert share(before) < 0.7 and share(sampled(dpo)) > 0.9
