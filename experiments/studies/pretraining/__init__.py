"""Studies of how models are pretrained and of what shape, one a file.

annealing          one trunk, many decays: laws of the curve, and schedules that they have not seen
batch_size         the critical batch, how it grows, and a larger run predicted in a larger batch
batch_size_laws    what it computes from its runs
families           architectures trained alike, and what compute is worth in each
moe_sparsity       experts of several numbers and widths: one law, and the best sparsity at a budget
moe_sparsity_laws  what it computes from its law
larger_run         a prediction and what was measured, on disk and in words
precision          weights of few bits in training: as how many parameters they count
recipes            what an optimizer is worth, and a larger pair that was predicted
width_depth        the loss by width over depth at matched parameters
figures            the pictures of these studies
"""

__all__ = [
    "annealing",
    "batch_size",
    "batch_size_laws",
    "families",
    "figures",
    "larger_run",
    "moe_sparsity",
    "moe_sparsity_laws",
    "precision",
    "recipes",
    "width_depth",
]
