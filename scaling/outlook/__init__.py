"""Text, power, money and carbon of the largest runs: inputs, projections, cost of FLOPs."""
