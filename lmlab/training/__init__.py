"""The training loop of lessons 08, 09 and later; derived piece by piece in lesson 08.

    recipe = Recipe(steps=500, lr=1e-3, batch_size=12)
    batches = blocks(ids, context=64, batch_size=12)
    history = fit(model, batches, recipe, validation=held_out, folder="out")

Any module with `loss(inputs, targets)` can be trained: the mean over the targets that
are not −100. `loop` holds `fit`, the Recipe that it is given and the History that it
returns; beside it stand `batches`, `updates` (AdamW, clipping, accumulation, precision;
and evaluation, without an update), `checkpoints` (exact resume) and `distributed`
(torchrun; a script of your own calls its `leave()` last).
"""

from lmlab.training.batches import blocks, windows
from lmlab.training.checkpoints import CheckpointError
from lmlab.training.loop import History, Recipe, TrainingError, fit
from lmlab.training.updates import evaluate, parameter_groups

__all__ = [
    "CheckpointError",
    "History",
    "Recipe",
    "TrainingError",
    "blocks",
    "evaluate",
    "fit",
    "parameter_groups",
    "windows",
]
