"""Post-training: a pretrained network learns to answer, and to answer as people want.

Data: conversations.py (read) -> chat_template.py (tokens and masks) -> examples.py (prepared once, on disk)
-> packing.py (rows of a batch). Then one file an algorithm, each with its losses as pure functions of arrays
and `objective(model, config)`, which `experiments.training` trains as any other run. Beside them:
gold/, a world in which the true reward is known; enumerable.py, tasks whose responses can all be listed.

May import models and experiments' config, data, fields, files, objective and objective_configs, never
training or evaluate.
"""
