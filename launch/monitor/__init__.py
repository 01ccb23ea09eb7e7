"""What is seen of a study from outside: how far it is, what it costs, its training curves.

    progress     StudyProgress: runs by stage and state, failures and time left, from the store
    speed        measured speeds, and times by them
    text         all that in words
    display      the words on a screen, redrawn in place
    bands        running runs in their bands, and curves that do not collapse
    live_page    the page of a study that runs, served to a browser here
    prices       worker-hours, money and energy
    tensorboard, wandb    training curves for other programs

It may import launch.store, experiments and what of scaling needs no jax. Import from its modules.
"""
