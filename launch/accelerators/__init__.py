"""Training steps compiled for accelerators that are not here, and what the compiled program says of them.

    cards     Accelerator: what a card or chip can do, from its data sheet, and the dict of those known
    topology  devices to compile for, from h100:8x8 or v5e:4x4
    hlo       a compiled program's collectives and products, from its text
    step      StepReport: a run's step compiled on a mesh
    search    the fastest of the meshes that fit
    words     the report, and what is wrong, in words

It may import experiments and models. The compilers are those of the extras cuda and tpu.
"""

__all__ = ["cards", "hlo", "search", "step", "topology", "words"]
