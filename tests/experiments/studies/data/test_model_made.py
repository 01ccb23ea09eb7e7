"""The study of text made by models: its corpora, its samples, and what it concludes from planted errors."""

import jax
import numpy as np
import pandas as pd
import pytest

import models
from experiments.data.cache import EOS
from experiments.data.sources import known_entropy
from experiments.data_configs import DataConfig, ModelMadeConfig
from experiments.studies.data.model_made import collapse, generations
from experiments.studies.data.model_made import study as model_made
from experiments.studies.data.model_made.collapse import ACCUMULATE, EQUAL_STEPS, replace
from tests.tiny_run import isoflop

SETTINGS = model_made.Settings(n_documents=100, n_generations=4, real_shares=(0.0, 0.5, 1.0))
ZIPF = known_entropy.KNOWN_SOURCES["zipf_skills"]


def test_generations_train_on_the_samples_of_those_before_them():
    arms = (replace(0.0), replace(0.5), replace(1.0), ACCUMULATE, EQUAL_STEPS)
    alone, half, real, all_of_them, equal = (model_made.chain(SETTINGS, arm, 1) for arm in arms)
    first = alone[0]
    assert {chain[0].run_id for chain in (half, real, all_of_them)} == {first.run_id}
    assert first.data.model_made == ModelMadeConfig(first=100, n_real=100)
    assert alone[3].data.model_made == ModelMadeConfig(
        first=100, n_real=0, runs=(alone[2].run_id,), n_sampled=100
    )
    assert half[3].data.model_made == ModelMadeConfig(
        first=100, n_real=50, runs=(half[2].run_id,), n_sampled=50
    )
    assert all_of_them[3].data.model_made == ModelMadeConfig(
        first=100, n_real=100, runs=tuple(run.run_id for run in all_of_them[:3]), n_sampled=100
    )
    assert [run.n_tokens // first.n_tokens for run in all_of_them] == [1, 2, 3, 4]  # as many epochs
    assert equal[1].data == all_of_them[1].data and {run.n_tokens for run in equal} == {first.n_tokens}
    assert {run.data.model_made for run in real} == {first.data.model_made}
    everyone = [run for g in (1, 2, 3, 4) for run in model_made.plan(SETTINGS, g)]
    assert len({run.run_id for run in everyone}) == len(everyone) == 3 * (1 + 1 + 3) + 3 * 3 * 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('source="english"', "there are zipf_skills, markov, grammar"),
        ("real_shares=[0.5]", "0 is among them"),
        ("rephrased=[0.0]", "above 0, at most 1"),
        ("n_generations=2", "3 or more"),
        ("n_seeds=1", "at least 2"),
    ],
)
def test_settings_that_say_nothing_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        model_made.study([override])


def test_a_corpus_has_real_documents_samples_and_what_is_said_in_other_words():
    real = ZIPF.draw(np.random.default_rng(0), 5)
    said = {"a": ZIPF.draw(np.random.default_rng(1), 9), "b": ZIPF.draw(np.random.default_rng(2), 9)}
    made = ModelMadeConfig(n_real=3, n_rephrased=2, runs=("a", "b"), n_sampled=4)
    found = generations.training_documents(made, real, said)
    expected = [real[:3], said["a"][:4], said["b"][:4], known_entropy.rephrase_skills(real[3:])]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    tokens = generations.rows_of(ZIPF, found)
    np.testing.assert_array_equal(generations.symbols_of(ZIPF, tokens.ravel()), found)
    with pytest.raises(ValueError, match="markov means nothing"):
        generations.training_documents(ModelMadeConfig("markov", n_rephrased=5), real, {})


def test_a_corpus_of_model_made_text_is_named_by_what_it_is_and_not_made_from_nothing(tmp_path):
    from experiments.data import prepare, tasks

    one, other = (
        DataConfig(task="model_made", model_made=ModelMadeConfig(runs=(run,), n_sampled=4)) for run in "ab"
    )
    assert prepare.cache_name(one) == prepare.cache_name(one) != prepare.cache_name(other)
    with pytest.raises(ValueError, match="go on with the study"):
        tasks.TASKS["model_made"].source(one, {})
    with pytest.raises(ValueError, match="goes with task 'model_made' alone"):
        DataConfig(model_made=one.model_made)


def test_samples_have_the_nats_that_the_model_gives_them():
    model = models.build(models.ladder(8, 259))
    params = jax.jit(model.init)(jax.random.key(0))
    before = generations.rows_of(ZIPF, ZIPF.draw(np.random.default_rng(0), 3)).astype(np.int32)
    say = generations._speaker(model, ZIPF.row_length)
    rows, nats = map(np.asarray, say(params, before, np.arange(3, dtype=np.uint32)))
    assert rows.shape == before.shape and len(np.unique(rows[:, 0])) > 1
    opened = np.repeat(rows[:, :1], rows.shape[1], axis=1)
    first = np.asarray(generations._nats(model, params, before, opened))[:, -1:]
    rest = np.asarray(generations._nats(model, params, rows, np.roll(rows, -1, axis=1)))
    for row, said, opening, later in zip(rows, nats, first, rest):
        end = [*row, EOS].index(EOS)  # places after the end are not said
        assert said == pytest.approx(opening.sum() + later[: min(end, len(row) - 1)].sum(), rel=1e-4)


def test_rare_documents_are_the_tail_and_texts_are_told_apart():
    truth, off = np.arange(20.0), np.where(np.arange(20) >= 18, 5.0, np.where(np.arange(20) < 2, 1.0, 2.0))
    assert collapse.by_probability(off, truth) == {"excess": off.mean(), "tail": 5.0, "head": 1.0}
    natural = ZIPF.draw(np.random.default_rng(3), 2000)
    found = collapse.of_text(ZIPF, natural, ZIPF.nats(natural))
    assert found["possible"] == 1 and found["rare"] == pytest.approx(0.1, abs=0.02)
    assert found["entropy"] == pytest.approx(ZIPF.loss, rel=0.01)
    same = np.repeat(natural[:1], 2000, axis=0)
    poor = collapse.of_text(ZIPF, same, np.zeros(2000))
    assert poor["distinct"] < found["distinct"] / 50 and poor["rare"] in (0.0, 1.0)
    assert collapse.distinct_ngrams(np.array([[0, 1, 0, 1], [1, 0, 1, 0]]), 2) == 2 / 6


def test_growth_is_told_from_what_theory_expects():
    """Errors of the theory, with noise: replace grows by 0.05 a generation, accumulate by 0.05 / g²."""
    rng, rows, said = np.random.default_rng(0), [], []
    for seed in range(3):
        for g in range(1, 7):
            noise = 0.001 * rng.standard_normal(4)
            errors = {
                replace(0.0): 0.2 + 0.05 * collapse.replaced(g - 1) + noise[0],
                replace(1.0): 0.2 + noise[1],
                ACCUMULATE: 0.2 + 0.05 * collapse.accumulated(g - 1) + noise[2],
                EQUAL_STEPS: 0.2 + 0.02 * (g - 1) + noise[3],
            }
            for arm, error in errors.items():
                rows.append({"arm": arm, "seed": seed, "generation": g, "excess": error, "tail": 2 * error})
        said.append({"seed": seed} | {arm: 0.2 + 0.05 * f(5) for arm, f in collapse.THEORY.items()})
    chains, said = pd.DataFrame(rows), pd.DataFrame(said)
    arms = (replace(0.0), replace(1.0), ACCUMULATE, EQUAL_STEPS)
    found = [collapse.of_arm(arm, chains, said, 0.9) for arm in arms]
    alone, real, kept, _ = found
    assert alone["growth"]["mean"] == pytest.approx(0.25, abs=0.005) and alone["growth"]["lo"] > 0.2
    assert alone["tail"]["mean"] == pytest.approx(0.5, abs=0.01) and "over_replace" not in alone
    assert real["growth"]["lo"] < 0 < real["growth"]["hi"] and "predicted" not in real
    assert kept["growth"]["mean"] == pytest.approx(0.05 * collapse.accumulated(5), abs=0.005)
    assert kept["over_replace"]["hi"] < -0.2 and kept["late"]["mean"] < 0.02
    assert alone["predicted"]["mean"] == pytest.approx(0.45)
    words = "\n".join(collapse.in_words({"level": 0.9, "arms": found, "rephrased": []}))
    assert "the error grows" in words and "accumulate: growth is less than under replace, below the" in words
    assert "accumulate, equal steps: growth is less than under replace, above the bound" in words


def test_theory_is_what_the_paper_says():
    assert [collapse.replaced(n) for n in (0, 1, 5)] == [0, 1, 5]
    assert collapse.accumulated(1) == 1 / 4 and collapse.accumulated(2) == 1 / 4 + 1 / 9
    assert collapse.accumulated(10_000) == pytest.approx(collapse.BOUND, abs=1e-3)


def test_other_words_are_compared_seed_by_seed():
    rows = [
        {"rephrased": share, "longer": 1, "seed": seed, "excess": 0.2 + seed - share / 10, "tail": 1.0}
        for share in (0.0, 0.5)
        for seed in (0, 1)
    ]
    base, half = collapse.of_rephrased(pd.DataFrame(rows), 0.9)
    assert half["saved"]["mean"] == pytest.approx(0.05) and half["saved"]["lo"] == pytest.approx(0.05)
    assert base["rephrased"] == 0 and half["excess"]["mean"] == pytest.approx(0.65)


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_a_tiny_study_runs_to_its_end(tmp_path):
    sizes = ("n_documents=128", "n_generations=3", "n_tokens=60000", "width=16", "n_seeds=2")
    parts = ("real_shares=[0.0]", "rephrased=[0.5]", "longer=[]", "n_measured=32")
    flags = [f"--set={override}" for override in (*sizes, *parts)]
    folder = tmp_path / "study"
    assert isoflop("study", "model_made", "--out", str(folder), "--workers=1", *flags) == 0
    assert (folder / "model_made.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(folder / "model_made.csv")
    chains = table[table["arm"].notna()]
    assert set(chains["generation"]) == {0, 1, 2, 3} and (chains["distinct"] > 0).all()
    assert (pd.read_csv(folder / "runs.csv")["status"] == "done").all()
