"""From logits to text: sampling, beam search, choice among samples, stopping, constraints.

sample: `sample`, many continuations of many prompts; settings: `SamplingSettings`; processors: what each
setting does to logits; stop: `StopCriteria` and text that grows; beam: `beam_search`; best_of_n and
pass_at_k: one answer out of several, and how good several are; constraints: texts that must have a form;
rollout: responses to a batch of prompts within a training step.
Within: prefill (the first pass over prompts), history (what penalties see), sampling_loop (the compiled loop)
and continuous_batching (which row is where, and which is admitted next).

Others import these modules by name; importing the package itself loads nothing. It imports models.model.
"""

__all__ = [
    "beam",
    "best_of_n",
    "constraints",
    "pass_at_k",
    "processors",
    "rollout",
    "sample",
    "settings",
    "stop",
]
