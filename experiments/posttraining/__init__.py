"""Post-training: a pretrained network learns to answer, and to answer as people want.

data/ has conversations and other examples, from published files to rows of a batch. One file an algorithm,
each with its losses as pure functions of arrays and `objective(model, recipe)`, which `experiments.training`
trains as any other run. Beside them: gold/, a world in which the true reward is known; enumerable.py, tasks
whose responses can all be listed.

May import models and experiments' config, data, fields, files, objective and objective_configs, never
training or evaluate.
"""
