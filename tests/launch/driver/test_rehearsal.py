"""What stages that wait will come to: exact where they do not look at results, else by made-up ones."""

import pytest

from experiments.studies import Stage
from experiments.studies.quickstart import study as quickstart
from launch.driver.rehearsal import made_up, rehearse
from launch.driver.stages import plan_stages, planned_run
from tests.launch.driver.test_stages import EXTEND, RATES, SWEEP, config, study


def test_a_stage_that_plans_from_results_is_estimated_and_counts_only_what_is_new():
    same = Stage("again", lambda runs: [config(lr=RATES[0]), config(48)])
    odd = Stage("odd", lambda runs: [config(lr=runs.table["gone"].max())])
    made = study(SWEEP, EXTEND, same, odd)
    expected = rehearse(made, plan_stages(made))
    assert list(expected) == ["extend", "again"]  # the last needs what nobody can make up
    (larger,), (wide,) = expected["extend"].runs, expected["again"].runs
    assert expected["extend"].from_results and not expected["again"].from_results
    assert larger.config["model"]["d_model"] == 32 and wide.config["model"]["d_model"] == 48


def test_what_has_been_measured_decides_over_what_is_made_up():
    made, best = study(SWEEP, EXTEND), config(lr=RATES[2])
    measured = made_up([planned_run("sweep", best)])
    measured[best.run_id]["loss"] = 0.1
    (larger,) = rehearse(made, plan_stages(made), measured)["extend"].runs
    assert larger.config["optimizer"]["lr"] == RATES[2]


def test_made_up_losses_fall_with_size_and_tokens_and_are_lowest_at_the_middle_rate():
    runs = [planned_run("a", each) for each in (config(lr=0.1), config(lr=0.2), config(lr=0.4))]
    more = [
        planned_run("b", each) for each in (config(lr=0.2), config(48, lr=0.2), config(lr=0.2, n_tokens=9600))
    ]
    low, middle, high = (result["loss"] for result in made_up(runs).values())
    assert low == high > middle
    first, larger, longer = (result["loss"] for result in made_up(more).values())
    assert first > larger and first > longer


def test_the_default_study_is_estimated_by_its_budgets():
    settings = quickstart.Settings()
    made = quickstart.build(settings)
    expected = rehearse(made, plan_stages(made))
    spent = {name: sum(run.flops for run in each.runs) for name, each in expected.items()}
    grid = sum(budget.flops * len(budget.d_models) for budget in settings.grid)
    refined = settings.refine * max(budget.flops for budget in settings.grid)
    both = (
        grid + refined - max(budget.flops for budget in settings.grid)
    )  # made up, the best rate is the middle
    assert spent["refine"] == pytest.approx(refined, rel=0.02)
    assert spent["refine"] + spent["grid"] == pytest.approx(both, rel=0.02)
    assert spent["verify"] == pytest.approx(8 * max(budget.flops for budget in settings.grid), rel=0.02)
