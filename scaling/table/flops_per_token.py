"""What a token costs in training as a function of the model's size: as a table's runs were counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.table.runs import Runs

SAME = 1e-3  # relative: FLOPs this near each other were counted alike
ON_LADDER = 0.01  # a ladder that is further than this from the runs' own FLOPs is not theirs
FAR = 100.0  # of log N, how far a cost is continued beyond the sizes where it is known


@dataclass(frozen=True, eq=False)
class FlopsPerToken:
    """Training FLOPs a token of models of some sizes, of a ladder or of a table of runs.

    Between the sizes the excess over 6·N is interpolated in logs. Beyond them an excess of attention and the
    like goes on as the power of N that it was, so that the cost approaches 6·N and never is less; where less
    than 6·N was counted, the ratio to it stays what it was at the nearest size.

    Attributes:
      n_params: the sizes, rising [sizes]; flops: of training on one token [sizes].
    """

    n_params: np.ndarray
    flops: np.ndarray

    def __call__(self, n_params: np.ndarray) -> np.ndarray:
        """FLOPs a token of models of these sizes, elementwise."""
        ratio, at = self.flops / (6.0 * self.n_params), np.log(self.n_params)
        least = float(np.all(ratio > 1 + SAME))  # 1: what is above 6·N fades; 0: the ratio stays
        excess = np.log(ratio - least)
        slope = np.polyfit(at, excess, 1)[0] if least and len(at) > 1 else 0.0
        beyond = FAR * float(np.clip(slope, -1.0, 0.0))
        places = [at[0] - FAR, *at, at[-1] + FAR]
        known = [excess[0] - beyond, *excess, excess[-1] + beyond]
        return 6.0 * n_params * (least + np.exp(np.interp(np.log(n_params), places, known)))

    def __str__(self) -> str:
        """How many times 6·N it is at the smallest and at the largest size."""
        ratio = self.flops / (6.0 * self.n_params)
        ends = [f"{ratio[i]:.3g} at N = {self.n_params[i]:.3g}" for i in (0, -1)]
        return f"C as counted, over 6·N·D {' and '.join(dict.fromkeys(ends))}"

    def to_json(self) -> dict[str, list[float]]:
        return {"n_params": self.n_params.tolist(), "flops": self.flops.tolist()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "FlopsPerToken":
        return FlopsPerToken(np.asarray(content["n_params"], float), np.asarray(content["flops"], float))


def flops_per_token(runs: Runs, size: str = "n_params") -> FlopsPerToken | None:
    """What a token of these runs costs, exactly where they state the ladder that they are on; None for 6·N.

    Args:
      runs: with n_tokens, flops and `size`, all positive; conventions["ladder"], if they are on one, has
        columns n_params, n_active and flops (a token) of its sizes.
      size: the column that is the model's size.
    """
    n_params = runs.table[size].to_numpy(float)
    flops = (runs.table["flops"] / runs.table["n_tokens"]).to_numpy(float)
    if np.allclose(flops, 6.0 * n_params, rtol=SAME):
        return None
    if size in (ladder := runs.conventions.get("ladder") or {}):
        counted = FlopsPerToken.from_json({"n_params": ladder[size], "flops": ladder["flops"]})
        if np.allclose(counted(n_params), flops, rtol=ON_LADDER):
            return counted
    sizes, at = np.unique(n_params, return_inverse=True)
    ratio = np.exp(np.bincount(at, np.log(flops / (6.0 * n_params))) / np.bincount(at))
    steps = np.diff(ratio)
    is_counted = np.allclose(flops, 6.0 * n_params * ratio[at], rtol=SAME)
    if not is_counted or not (np.all(steps <= 0) or np.all(steps >= 0)):  # a smooth cost has a smooth optimum
        least = float(np.all(flops > (1 + SAME) * 6.0 * n_params))
        excess = np.log(flops / (6.0 * n_params) - least)
        line = np.polyfit(np.log(n_params), excess, 1 if len(sizes) > 1 else 0)
        sizes = np.unique(sizes[[0, -1]])
        ratio = least + np.exp(np.polyval(line, np.log(sizes)))
    return FlopsPerToken(sizes, 6.0 * sizes * ratio)
