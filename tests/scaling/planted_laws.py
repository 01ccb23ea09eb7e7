"""For every law: true parameters, and a table of the columns that it reads, for the tests of scaling/laws."""

import numpy as np
import pandas as pd

from scaling.design import mixture_grid
from scaling.laws.training_curve.annealing import annealing_columns
from scaling.laws.training_curve.multi_power import multi_power_columns

WARMUP, STEPS = 1000, 20000


def grid(**columns) -> pd.DataFrame:
    """Every combination of the values of the columns."""
    return (
        pd.MultiIndex.from_product(columns.values(), names=columns.keys()).to_frame(index=False).astype(float)
    )


def schedules(peak: float = 3e-4) -> dict[str, np.ndarray]:
    """Learning rates by step: constant, cosine, a decay at the end, and a drop to 10 or 30 % early on."""
    warmup, rest = np.linspace(0, 1, WARMUP, endpoint=False), np.arange(STEPS - WARMUP) / (STEPS - WARMUP)
    shapes = {
        "constant": np.ones_like(rest),
        "cosine": 0.55 + 0.45 * np.cos(np.pi * rest),
        "decay": np.clip((1 - rest) / 0.25, 0.02, 1.0),
        "drop": np.where(rest < 0.3, 1.0, 0.1),
        "half": np.where(rest < 0.3, 1.0, 0.3),
    }
    return {name: peak * np.concatenate([warmup, shape]) for name, shape in shapes.items()}


def curves(columns) -> pd.DataFrame:
    """Measured points of a run of every schedule."""
    steps = np.unique(np.geomspace(2 * WARMUP, STEPS, 25).astype(int))
    return pd.concat([columns(lr, steps) for lr in schedules().values()], ignore_index=True)


def recorded_curves(columns) -> pd.DataFrame:
    """Those points as losses of training, and the ends of the curves as validation losses."""
    table = curves(columns)
    ends = table.groupby(np.arange(len(table)) // (len(table) // len(schedules()))).tail(1)
    return pd.concat([table.assign(training=1.0), ends.assign(training=0.0)], ignore_index=True)


SIZES, TOKENS = np.geomspace(1e8, 1e10, 5), np.geomspace(2e9, 2e11, 5)
MIXED = mixture_grid(40, ("web", "code", "books"))
# name: (true parameters in the order of the law's, columns)
PLANTED = {
    "chinchilla": ((1.8, 400.0, 1500.0, 0.35, 0.36), grid(n_params=SIZES, n_tokens=TOKENS)),
    "kaplan": ((8.8e13**0.076, 5.4e13**0.095, 0.076, 0.095), grid(n_params=SIZES, n_tokens=TOKENS)),
    "skaling": ((1.8, 250.0, 610.0, 0.3, 0.3, 0.4), grid(n_params=SIZES, n_tokens=TOKENS)),
    "interacting": (
        (1.8, 400.0, 18.8, 0.35, 0.153, -0.237, 0.01),
        grid(n_params=np.geomspace(1e7, 1e11, 9), n_tokens=np.geomspace(2e8, 2e12, 9)),
    ),
    "over_training": ((1.8, 140.0, 190.0, 0.18), grid(n_params=SIZES, n_tokens=TOKENS)),
    "data_constrained": (
        (1.87, 521.0, 1488.0, 0.353, 0.353, 15.4, 5.3),
        grid(n_params=SIZES, n_tokens=TOKENS, unique_tokens=(1e8, 1e9, 1e10, 1e12)),
    ),
    "overfitting": (
        (1.87, 521.0, 1488.0, 0.353, 0.353, 2e-3, 0.7, 0.9),
        grid(n_params=SIZES, n_tokens=TOKENS, unique_tokens=(1e9, 1e10, 1e12)),
    ),
    # k = 1.9e4, alpha and beta as Hernandez et al. 2021 have them, from text to Python in characters.
    "transfer": (
        (1.8, 400.0, 1500.0, 0.35, 0.36, 9.85, 0.18, 0.38),
        grid(n_params=SIZES, unique_tokens=np.geomspace(1e6, 1e10, 7), pretrained=(0, 1)),
    ),
    "precision": (
        (1.8, 400.0, 1500.0, 0.35, 0.36, 2.7),
        grid(n_params=SIZES, n_tokens=TOKENS, weight_bits=(3, 4, 6, 8, 16)),
    ),
    "moe": (
        (1.36, 36.0, 36.0, 0.19, 0.18, -0.3, 0.012, 0.1, -0.003, 2.1, 290.0),
        grid(n_active=SIZES, n_tokens=TOKENS, n_experts=(1, 4, 32, 256)),
    ),
    "granularity": (
        (0.8, 18.1, 30.8, 0.15, 0.147, 4.0, 0.58),
        grid(n_active=SIZES, n_tokens=TOKENS, granularity=(1, 2, 4, 8, 16)),
    ),
    "sparsity": (
        (1.8, 400.0, 1500.0, 0.35, 0.36, 0.3, 0.05, 0.06),
        grid(n_active=SIZES, n_tokens=TOKENS, expansion=(1, 4, 16), granularity=(1, 4)),
    ),
    "batch": (
        (1.8, 400.0, 1500.0, 0.35, 0.36, 25.0, 0.47),
        grid(n_params=SIZES, n_tokens=TOKENS, batch_tokens=np.geomspace(1e5, 3e7, 4)),
    ),
    "logistic": ((3e5, 0.8), grid(n_params=np.geomspace(1e4, 1e7, 40))),
    "broken": ((1.5, 100.0, 0.1, 0.15, 3e20, 0.4), grid(flops=np.geomspace(1e16, 1e24, 60))),
    "u_shaped": ((2.2, 5e20, 0.06, 0.11), grid(flops=np.geomspace(1e18, 1e23, 20))),
    "annealing": ((2.5, 0.5, 0.6, 0.5), curves(annealing_columns)),
    "multi_power": ((2.65, 0.6, 440.0, 2.1, 0.45, 0.6, 0.65), curves(multi_power_columns)),
    "annealing_curves": ((2.5, 0.5, 0.6, 0.5, 0.02), recorded_curves(annealing_columns)),
    "multi_power_curves": (
        (2.65, 0.6, 440.0, 2.1, 0.45, 0.6, 0.65, -0.01),
        recorded_curves(multi_power_columns),
    ),
    "mixture:web,code,books": ((0.9, -0.2, 0.1, 0.06, 0.02, -0.01, -5.0), MIXED),
    "mixture_own:web,code,books": ((0.9, -0.2, 0.1, 0.06, -5.0), MIXED),
    "mixture_exponential:web,code,books": ((1.9, 1.4, -0.8, 0.5), MIXED),
    "low_resource": ((0.9, 40.0, 0.6, 2e3), grid(language_tokens=np.geomspace(1e2, 1e6, 40))),
    "downstream": ((0.26, 0.93, 0.9, 9.0), grid(loss=np.linspace(0.5, 1.5, 30))),
    "pass_at_k": ((1.9, 0.35), grid(k=2.0 ** np.arange(13))),
    "over_optimisation_bon": ((0.7, 0.12), grid(kl=np.linspace(0, 6, 25))),
    "over_optimisation_rl": ((0.9, 0.25), grid(kl=np.linspace(0, 100, 25))),
    "over_optimisation_bon:reward_params": (
        (0.2, 0.05, 0.5, -0.025),
        grid(kl=np.linspace(0, 6, 15), reward_params=(3e4, 1e5, 3e5)),
    ),
    "over_optimisation_rl:reward_params,reward_pairs": (
        (0.3, 0.03, 0.7, -0.03, -0.02),
        grid(kl=np.linspace(0, 60, 15), reward_params=(3e4, 1e5, 3e5), reward_pairs=(1e3, 4e3, 1.6e4)),
    ),
    "fine_tuning": (
        (0.6, 120.0, 0.25, 0.2),
        grid(n_params=np.geomspace(1e4, 1e6, 5), n_examples=2.0 ** np.arange(6, 14)),
    ),
    "reward_model": (
        (0.04, 6.0, 3.0, 0.4, 0.45),
        grid(
            n_params=np.geomspace(1e4, 1e6, 5), n_pairs=2.0 ** np.arange(7, 15), label_noise=(0.0, 0.1, 0.25)
        ),
    ),
    "capacity": (
        (2.1, 90.0, 0.8, 1.6),
        grid(
            n_params=np.geomspace(4e3, 3e4, 4),
            known_bits=np.geomspace(3e3, 1e5, 4),
            exposures=(10, 40, 100, 400, 1000),
        ),
    ),
    "planted_statement": (
        (30.0, 20.0, -0.3, 0.4, 1.2),
        grid(n_planted=2.0 ** np.arange(12), n_params=np.geomspace(1e4, 1e5, 3), n_tokens=(3e5, 6e5, 1.2e6)),
    ),
    "fact_error": (
        (0.95, 900.0, -0.4, 1.3),
        grid(exposures=2.0 ** np.arange(9), n_params=np.geomspace(1e4, 1e5, 4)),
    ),
    "rl_compute": ((2.1, 1.3, 4e13), grid(flops=np.geomspace(1e12, 1e15, 20), start_reward=(0.4, 0.9))),
}
