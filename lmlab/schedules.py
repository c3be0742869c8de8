"""Learning rates that change with the step: plain numbers, for NumPy and torch alike.

Warm-up rises on a line, so that its last step has the whole rate; then the rate falls
from there, on the schedule's curve, to its end, where it stays.
"""

import math

SCHEDULES = {  # the share left of the way down, after a share `done` of the steps
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def rate(schedule, step, steps, warmup_steps=0.0, *, lr=1.0, min_lr=0.0):
    """The learning rate of update `step`, from 0, in a training of so many steps.

    Step t of the warm-up has (t + 1) / warmup_steps of lr, at most all of it;
    warmup_steps need not be whole. The schedule begins at lr when warm-up is over, and
    would reach min_lr at step `steps`, one after the last; beyond it stays there.
    Raises KeyError for a schedule that is not in SCHEDULES.
    """
    left = SCHEDULES[schedule]
    if step >= steps:
        return min_lr + (lr - min_lr) * left(1.0)
    if step < warmup_steps:
        return lr * min(1.0, (step + 1) / warmup_steps)
    done = (step - warmup_steps) / (steps - warmup_steps)
    return min_lr + (lr - min_lr) * left(done)
