"""Train a GPT on a text from the command line, on one process or several.

    python -m lmlab.training --text english --folder runs/gpt
    torchrun --nproc_per_node=2 -m lmlab.training --text mine.txt --folder runs/gpt

The folder receives checkpoints, curves for TensorBoard (in tensorboard/) and, at the
end, model and tokenizer in Hugging Face's format (in model/). The same command again
goes on where it was killed; to go on longer, or at another rate, name a new folder and
begin with the weights of the old one: --weights runs/gpt. Paths count from the working
directory. Settings of torchrun: https://docs.pytorch.org/docs/elastic
"""

import argparse
import sys

from lmlab.errors import LmlabError
from lmlab.files import given

RECIPE = (
    "steps", "lr", "batch_size", "accumulate", "weight_decay", "precision",
    "evaluate_every", "checkpoint_every", "seed",
)  # fmt: skip
SHAPE = {"layers": 4, "heads": 4, "width": 128, "context": 128}


def main(arguments=None):
    """Run the command; exits with 2 for input that cannot be used, 1 when it fails."""
    options = _parser().parse_args(arguments)
    from lmlab.training import TrainingError

    try:
        train(options)
    except (ValueError, OSError, LmlabError) as error:
        print(error, file=sys.stderr)
        sys.exit(1 if isinstance(error, TrainingError) else 2)


def train(options):
    """Do what the command line says; see `python -m lmlab.training --help`."""
    from lmlab import devices
    from lmlab.data import corpora
    from lmlab.data.corpora import token_ids
    from lmlab.models.gpt import GPT, Config
    from lmlab.training import Recipe, blocks, checkpoints, distributed, fit

    recipe = Recipe(
        **{name: getattr(options, name) for name in RECIPE},
        min_lr=options.lr / 10,
    )
    device, reason = devices.choose_device(options.device)
    ranks, _ = distributed.join(device)
    text = corpora.load(_corpus(options.text))
    tokenizer = _tokenizer(options.tokenizer, text)
    ids = [token_ids(tokenizer, part) for part in (text.train, text.validation)]
    config = Config(
        vocab_size=tokenizer.vocab_size,
        context=options.context,
        num_layers=options.layers,
        num_heads=options.heads,
        width=options.width,
        dropout=options.dropout,
    )
    devices.seed_everything(options.seed)
    model = GPT(config)
    if options.weights is not None:
        checkpoints.load_model(model, _newest(options.weights))

    def say(*words):
        if ranks.first:
            print(*words, flush=True)

    say(f"{text}\n{tokenizer}\n{model.num_parameters():,} parameters")
    say(f"{ranks.size} process(es), {device}: {reason}")

    def note(record):
        if "validation_loss" in record:
            say(
                "step {step:>6}  loss {loss:.4f}  validation {validation_loss:.4f}  "
                "{tokens_per_second:,.0f} tokens/s".format(**record)
            )

    folder = given(options.folder)
    history = fit(
        model,
        blocks(ids[0], options.context, options.batch_size, options.seed),
        recipe,
        validation=ids[1],
        folder=folder,
        resume=True,
        device=device,
        tensorboard=folder / "tensorboard",
        log=note,
    )
    step, loss = history.best
    say(f"{len(history.steps)} steps, {history.tokens_per_second:,.0f} tokens/s")
    say(f"lowest validation loss {loss:.4f} nats per token, at step {step}")
    if ranks.first:
        from lmlab.models import pretrained

        pretrained.save(model, tokenizer, folder / "model")
        say(f"the model of the last step is in {folder / 'model'}")
    distributed.leave()


def _tokenizer(choice, text):
    """Characters, BPE learned here, or a saved one; deterministic, so ranks agree."""
    from lmlab.text.tokenizer import Tokenizer, train

    if choice == "characters":
        return Tokenizer.characters(text.train + text.validation)
    if choice.isdigit():
        return train(text.train, int(choice))
    return Tokenizer.load(given(choice))


def _corpus(choice):
    """The name of a corpus, or the full path of a file of the user's."""
    from lmlab.data import corpora

    named = corpora.names()
    path = given(choice)
    if choice not in named and not path.exists():
        raise ValueError(
            f"--text: there is no file {path} (a relative path counts from the working "
            f"directory), and {choice!r} is no corpus: they are {', '.join(named)}"
        )
    return choice if choice in named else str(path)


def _newest(choice):
    """A checkpoint by its path, or the newest one in a folder."""
    from lmlab.training import checkpoints

    path = given(choice)
    found = checkpoints.found(path)
    if path.is_dir() and not found:
        raise ValueError(f"--weights: {path} holds no checkpoint (step-*.safetensors)")
    return found[-1] if found else path


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m lmlab.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--text",
        default="english",
        help="a corpus of lmlab.data.corpora, or a file's path",
    )
    add("--folder", required=True, help="for all that is written; resumed if in use")
    add("--tokenizer", default="1000", help="characters, a vocabulary size, a folder")
    add("--weights", help="to begin with: a checkpoint, or a folder for its newest")
    for name, value in SHAPE.items():
        add(f"--{name}", type=int, default=value)
    add("--dropout", type=float, default=0.0)
    add("--steps", type=int, default=1000)
    add("--batch-size", type=int, default=16, help="over all processes")
    add("--accumulate", type=int, default=1, help="pieces a batch is cut into")
    add("--lr", type=float, default=2e-3)
    add("--weight-decay", type=float, default=0.1)
    add("--precision", default="auto", help="float32, bfloat16, float16 or auto")
    add("--device", default="auto", help="cuda, mps, cpu or auto")
    add("--evaluate-every", type=int, default=100)
    add("--checkpoint-every", type=int, default=100)
    add("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
