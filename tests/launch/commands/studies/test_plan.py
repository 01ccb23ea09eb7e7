"""`isoflop plan`: what it shows of many runs, what shared prefixes save (test_submit_command.py: writing)."""

import re

import pytest

from experiments.studies.budgets import PRESETS, with_preset
from launch.cli import main
from launch.commands.studies.plan import ROWS_SHOWN, as_text, saved_by_shared_prefixes
from launch.driver.rehearsal import Expected
from launch.store import PlannedRun


def planned(k: int, n_steps: int = 100, trunk: str = "", branch_step: int = 0) -> PlannedRun:
    config = {"optimizer": {"lr": 0.01}, "batch_tokens": 512, "model": {"d_model": 16}}
    flops = 1e9 * n_steps
    return PlannedRun(
        f"{k:012x}", "grid", "s", 11_000, 512 * n_steps, flops, config, "", trunk, branch_step, n_steps
    )


def test_a_shared_prefix_saves_the_steps_of_the_next_shorter_run():
    ladder = [planned(k, n, "t", int(0.7 * n)) for k, n in enumerate((400, 100, 200))]
    # Of 200 steps 70 are there already, of 400 then 140.
    assert saved_by_shared_prefixes(ladder) == pytest.approx(1e9 * (70 + 140))
    assert saved_by_shared_prefixes(
        [*ladder, planned(7, 800, "other", 560), planned(8, 800)]
    ) == pytest.approx(2.1e11)
    text = as_text({"grid": ladder}, {11_000: 1e9}, 1, {})
    assert "shared prefixes save 2.10e+11 of 7.00e+11 FLOPs (30%)" in text
    assert "3 runs, 4.90e+11 FLOPs, about 8 min 10 s with 1 worker, at the speeds measured here" in text


def test_settings_that_differ_have_a_column():
    runs = [planned(k) for k in range(2)]
    runs[1].config["optimizer"] = {"lr": 0.01, "weight_decay": 0.0}
    header, *rows = (line.split() for line in as_text({"grid": runs}, {}, 1, {}).splitlines()[1:4])
    at = header.index("optimizer.weight_decay")
    assert [row[at] for row in rows] == ["0.1", "0"]  # the first has left its default out
    assert "weight_decay" not in as_text({"grid": runs[:1]}, {}, 1, {})


def test_a_router_that_nothing_teaches_is_in_doubt_before_it_trains():
    runs = [planned(k) for k in range(4)]
    for run, experts in zip(runs[1:], ((8, 1, True), (8, 2, True), (8, 1, False))):
        run.config["model"]["experts"] = dict(zip(("n_experts", "top_k", "renormalize"), experts))
    assert "in doubt: 1 run with top_k=1 and renormalize=true" in as_text({"grid": runs}, {}, 1, {})
    assert "in doubt" not in as_text({"grid": [runs[0], *runs[2:]]}, {}, 1, {})


def test_many_runs_are_shown_in_part_and_counted_in_full():
    text = as_text({"grid": [planned(k) for k in range(1000)], "verify": None}, {}, 2, {})
    lines = text.splitlines()
    assert len(lines) == 2 + ROWS_SHOWN + 3 and lines[0] == "grid: 1000 runs"
    assert lines[-3:-1] == ["  … and 950 runs more", "verify: planned after stage grid, from its results"]
    assert lines[-1].startswith("in all so far: 1000 runs, 1.00e+14 FLOPs")


def test_stages_that_wait_are_counted_by_what_they_will_come_to():
    stages = {"tune": [planned(0), planned(1)], "grid": None, "extend": None, "verify": None}
    expected = {
        "grid": Expected(tuple(planned(k, 200) for k in range(2, 5)), True),
        "verify": Expected((planned(9, 800),), True),
    }
    text = as_text(stages, {11_000: 1e9}, 1, {}, expected, {"per_hour": 3600, "currency": "EUR"})
    assert "grid: planned after stage tune, from its results; about 3 runs, 6.00e+11 FLOPs" in text
    assert "in all so far: 2 runs, 2.00e+11 FLOPs, about 3 min 20 s" in text
    assert (
        "with the stages that wait: about 6 runs, 1.60e+12 FLOPs, about 26 min 40 s; without extend" in text
    )
    assert "cost: 0.444 worker-hours, 1.6k EUR" in text
    sure = {"extend": Expected((planned(10),), False)}
    text = as_text(stages, {11_000: 1e9}, 1, {}, expected | sure)
    assert "extend: planned after stage grid: 1 run, 1.00e+11 FLOPs" in text and "without" not in text
    assert "with the stages that wait: about 7 runs, 1.70e+12 FLOPs" in text
    text = as_text({"a": [planned(0)], "b": None}, {}, 1, {}, {"b": Expected((planned(1),), False)})
    assert "with the stages that wait: 2 runs, 2.00e+11 FLOPs" in text
    text = as_text(stages, {}, 1, {}, expected, {"flops_per_second": 1e9})
    assert "about 3 min 20 s with 1 worker, at [cost].flops_per_second" in text
    assert "cost: 0.444 worker-hours" in text


SITE = '[cost]\nper_hour = 2.5\ncurrency = "EUR"\nflops_per_second = 4e14\n'


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset, least, most, flops", [("gpu_day", 16, 26, 1.2e19), ("pod", 5_000, 20_000, 1e22)]
)
def test_presets_are_planned_costed_and_checked_for_memory_without_their_data(
    preset, least, most, flops, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "site.toml").write_text(SITE)
    flags = ["--site", str(tmp_path / "site.toml"), "--device_bytes", "80e9"]
    assert main(["plan", "quickstart", "--set", f"preset={preset}", *flags]) == 0
    said = capsys.readouterr().out
    hours, thousand = re.findall(r"cost: ([\d.]+)(k?) worker-hours, [\d.]+[kM]? EUR", said)[0]
    assert least < float(hours) * (1000 if thousand else 1) < most
    waiting = r"^(\w+): planned after .* about \d+ runs?, ([\d.e+]+) FLOPs"
    stages = dict(re.findall(waiting, said, re.MULTILINE))
    assert float(stages["verify"]) == pytest.approx(flops, rel=0.01)
    assert ("does not fit a device's 80GB" in said) == (preset == "pod")
    assert "data: not downloaded" in said
    assert not (tmp_path / "cache").exists()


def test_a_preset_that_there_is_not_is_named_and_what_is_set_besides_comes_later(capsys):
    assert main(["plan", "quickstart", "--set", "preset=laptop"]) == 2
    assert f"preset=laptop; there are {', '.join(PRESETS)}" in capsys.readouterr().err
    assert with_preset(["seed=1", "preset=pod", "seq_len=512"])[-2:] == ["seed=1", "seq_len=512"]
