"""What the study of planted statements says of its table and of its law."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.studies.posttraining import laws
from scaling.laws.downstream.planted_statement import half_count
from scaling.table.runs import Runs


def halves(fit: scaling.Fit, table: pd.DataFrame) -> Iterator[dict[str, float]]:
    """By size and tokens: "half", the documents after which a statement costs half of its nats, and the
    largest mean "probability" of a statement."""
    for n_params, n_tokens in sorted(set(zip(table["n_params"], table["n_tokens"]))):
        rows = table[(table["n_params"] == n_params) & (table["n_tokens"] == n_tokens)]
        half = half_count(fit.params, float(n_params), float(n_tokens))
        most = float(rows.pivot_table(index="statement", values="probability").to_numpy(float).max())
        yield {"n_params": n_params, "n_tokens": n_tokens, "half": half, "probability": most}


def of_larger(largest: pd.DataFrame) -> dict[str, float]:
    """How the larger model was predicted: "rms_error" of the logarithm of nats, the share "inside" the
    intervals, and means of "predicted" and measured "nats"."""
    came, said = largest["nats"].to_numpy(float), largest["predicted"].to_numpy(float)
    inside = (largest["lo"].to_numpy(float) <= came) & (came <= largest["hi"].to_numpy(float))
    return {
        "rms_error": laws.rms(np.log(said / came)),
        "inside": float(inside.mean()),
        "predicted": float(said.mean()),
        "nats": float(came.mean()),
    }


def of_control(never: pd.DataFrame) -> dict[str, float]:
    """What becomes of statements that a run has not read: mean "nats", and the largest "probability"."""
    nats, probability = (never[name].to_numpy(float) for name in ("nats", "probability"))
    return {"nats": float(nats.mean()), "probability": float(probability.max())}


def clean_loss(runs: Runs) -> dict[str, float]:
    """The mean loss on clean text by size."""
    done = runs.table[runs.table["status"] == "done"]
    sizes = sorted(set(done["n_params"]))
    return {str(n): float(done.loc[done["n_params"] == n, "loss_text"].to_numpy(float).mean()) for n in sizes}


def in_words(found: dict[str, Any]) -> Iterator[str]:
    """What was found, a line each."""
    law, larger = found["law"], found["larger"]
    for each in found["half"]:
        yield (
            f"  {each['n_params']:>8,} parameters, {each['n_tokens']:>10,} tokens: half the nats after "
            f"{each['half']:.0f} documents; repeated with probability {each['probability']:.2g} at most"
        )
    for name, what in (("gamma", "size"), ("delta", "tokens")):
        yield f"half grows with the {what} to the power {said(law[name])}"
    lo, hi = law["delta"]["interval"]
    number, share = lo <= 0 <= hi, lo <= 1 <= hi
    verdicts = {(True, False): "number", (False, True): "share", (False, False): "neither alone"}
    verdict = verdicts.get((number, share), "not told apart")
    yield f"what counts of planted documents, their number (0, Souly et al. 2025) or share (1): {verdict}"
    yield (
        f"larger model: {larger['nats']:.1f} nats a statement in the mean, predicted "
        f"{larger['predicted']:.1f}; off by {larger['rms_error']:.0%}, {larger['inside']:.0%} inside "
        f"{found['level']:.0%} intervals; never planted: {found['control']['nats']:.1f} nats"
    )


def said(parameter: dict[str, Any]) -> str:
    """A parameter with its interval."""
    lo, hi = parameter["interval"]
    return f"{parameter['value']:.2f} ({lo:.2f} to {hi:.2f})"
