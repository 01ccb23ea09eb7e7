"""The page's section on post-training: a figure a measurement, the truth beside the reward, and texts."""

from dataclasses import replace

import pandas as pd

from scaling.report.sections import post_training


def test_each_measurement_is_a_figure_and_gold_lies_beside_the_reward(study):
    numbers = [
        {"run_id": run, "stage": "rl", "objective": kind, "n_params": 1e5, "n_tokens": n, "name": name}
        | {"measured": float(n)}
        for run, kind in (("a", "ppo"), ("b", "dpo"))
        for n in (64, 128)
        for name in ("reward", "gold", "kl", "step", "lr")
    ]
    texts = [{"run_id": "a", "step": step, "prompt": "<b>?", "response": f"r{step}"} for step in (1, 2)]
    data = replace(study, post_training=pd.DataFrame(numbers), texts=pd.DataFrame(texts))
    section = post_training.section(data)
    reward, kl = section.figures
    assert (reward.name, kl.name) == ("post_training_reward", "post_training_kl")
    assert {row["kind"] for row in reward.spec["datasets"]["runs"]} == {"measured", "gold"}
    assert len(kl.spec["datasets"]["runs"]) == 4 and "1 of ppo, 1 of dpo" in section.text
    [table] = section.tables
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["1", "<b>?", "r1"],
        ["2", "<b>?", "r2"],
    ]


def test_without_post_training_there_is_no_section(study):
    assert post_training.section(study) is None
