"""What several commands share: their arguments, read and checked. Each says in one line what is wrong.

    tables_and_fits   columns of a table of runs, a fit.json, what else its law reads, where output goes
    studies           a study's folder, runs by the beginning of their ids, site files
    constraint_flags  the flags of `isoflop sample` for constrained text and beams
    posttraining      the run that a checkpoint, examples and flags make
    hf_folders        what belongs to a Hugging Face checkpoint besides the network

It may import launch.store, and late, in its functions, the rooms below. Import from its modules.
"""
