"""The compute-optimal size straight from the runs, without a law.

  isoflop    approach 2: minima of IsoFLOP profiles, and power laws through them
  envelope   approach 1: the best run at each compute
  parabola   the minimum of noisy losses along one quantity, a size or a learning rate

Imports scaling.table.
"""

__all__ = ["envelope", "isoflop", "parabola"]
