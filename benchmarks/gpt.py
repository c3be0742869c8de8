"""How fast does lmlab train a GPT, in how much memory, and how well? Against peers.

    python benchmarks/gpt.py                          # all but nanoGPT, half an hour
    python benchmarks/gpt.py --nanogpt ../nanoGPT     # with a checkout of your own
    python benchmarks/gpt.py --only speed

speed: tokens per second of a small GPT (4 layers × 128, 12 × 64 characters), against
a plain loop on Hugging Face's GPT2LMHeadModel and against their Trainer. Rounds are
interleaved, each in another order, and every ratio is between times of one round, so
that a machine that is slower for a while slows all. The first steps are not counted.

large: the same for fine-tuning steps of GPT-2's shape (124 M parameters, random
weights) against the Trainer, in float32 and bfloat16, each run in a process of its own;
and, in two more runs, the peak of resident memory that model and training add to a
process that has imported everything and gives freed memory back at once.

nanogpt: tiny Shakespeare, characters. nanoGPT's train.py with the recipe that its
README gives for a CPU, and lmlab with a recipe of its own for a model of the same
shape: seconds of training, without the evaluations, and the loss of the final weights
over the whole validation split, in blocks of 64 without overlap (nanoGPT's
estimate_loss is the mean over random such blocks).

The text is tiny Shakespeare where it is to be had, else the embedded English.
"""

import argparse
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "transformers", "accelerate")
PARTS = ("speed", "large", "nanogpt")
SKIP = 3  # steps at the start of each run that are not counted
LR = 1e-3
# glibc would otherwise keep what was freed, and a peak would be blurred.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}

# Found by the validation loss of a few dozen runs (benchmarks/README.md).
FAST = {
    "steps": 1275,
    "lr": 3e-3,
    "batch_size": 8,
    "warmup": 0.1,
    "betas": (0.9, 0.99),
}
SPREAD = 4  # matrices start at this times GPT-2's 0.02, about 1/√width
NANOGPT = (
    "--device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 "
    "--batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters={steps} "
    "--lr_decay_iters={steps} --dropout=0.0 --eval_interval={steps}"
)


@dataclass
class Shape:
    """Of a model and its batches."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int
    vocabulary: int

    def __str__(self):
        return (
            f"{self.layers} layers × {self.width}, {self.heads} heads, batch "
            f"{self.batch} × {self.context} tokens, vocabulary {self.vocabulary:,}"
        )


# --- The text -------------------------------------------------------------------------


def corpus():
    """lmlab.data.corpora's Text: tiny Shakespeare, or what is always there."""
    from lmlab.data import corpora

    try:
        return corpora.load("tinyshakespeare")
    except corpora.DataError as error:
        print(f"tiny Shakespeare is not to be had, English instead: {error}")
        return corpora.load("english")


def characters(text):
    """(training ids, validation ids, vocabulary) of a text, one id per character."""
    from lmlab.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.characters(text.train + text.validation)
    ids = (tokenizer.encode(part) for part in (text.train, text.validation))
    return *ids, tokenizer.vocab_size


def words(text, vocabulary):
    """About as many ids below a vocabulary as text has words, for a model's shape."""
    numbers = {}
    ids = [numbers.setdefault(w, len(numbers)) for w in re.findall(r"\s*\S+", text)]
    return [i % vocabulary for i in ids]


clock = time.perf_counter  # or this process's CPU time, with --clock cpu


# --- The contenders: (shape, ids, precision, steps) → seconds per step ----------------


def per_step(times):
    """Seconds per step from the moments at which steps ended."""
    return (times[-1] - times[SKIP - 1]) / (len(times) - SKIP)


def lmlab(shape, ids, precision, steps):
    import numpy as np
    import torch

    from lmlab.models.gpt import GPT, Config
    from lmlab.training import Recipe, blocks, fit

    torch.manual_seed(0)
    config = Config(
        shape.vocabulary, shape.context, shape.layers, shape.heads, shape.width
    )
    batches = blocks(np.asarray(ids), shape.context, shape.batch)
    recipe = Recipe(steps, LR, shape.batch, precision=precision)
    times = []
    history = fit(GPT(config), batches, recipe, log=lambda _: times.append(clock()))
    return per_step(times), history.losses[0]


def hugging_face(shape):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()  # a remark about the loss, at each model
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


def plain(shape, ids, precision, steps):
    """The loop that a reader of their documentation would write."""
    import torch

    model = hugging_face(shape)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.1
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    data, first, times = torch.tensor(ids), None, []
    for _ in range(steps):
        starts = torch.randint(len(data) - shape.context, (shape.batch,))
        x = torch.stack([data[i : i + shape.context] for i in starts])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            loss = model(input_ids=x, labels=x).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        cosine.step()
        optimizer.zero_grad()
        first = loss.item() if first is None else first
        times.append(clock())
    return per_step(times), first


def trainer(shape, ids, precision, steps):
    """Their Trainer, with nothing to log or save."""
    import torch
    import transformers

    class Times(transformers.TrainerCallback):
        ends = []  # noqa: RUF012

        def on_step_end(self, *_, **__):
            self.ends.append(clock())

    generator = torch.Generator().manual_seed(0)
    data, shown = torch.tensor(ids), Times()
    starts = torch.randint(
        len(data) - shape.context, (steps * shape.batch,), generator=generator
    )
    rows = [data[i : i + shape.context] for i in starts]
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=shape.batch,
            learning_rate=LR,
            lr_scheduler_type="cosine",
            weight_decay=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            bf16=precision == "bfloat16",
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        theirs = transformers.Trainer(
            model=hugging_face(shape),
            args=arguments,
            train_dataset=[{"input_ids": row, "labels": row} for row in rows],
            callbacks=[shown],
        )
        theirs.remove_callback(transformers.PrinterCallback)
        theirs.train()
    return per_step(shown.ends), None


CONTENDERS = {"lmlab": lmlab, "plain loop": plain, "Trainer": trainer}


def check_loss(name, loss, shape):
    """Stop unless an untrained model's loss is near ln V: the work would differ."""
    if loss is not None and abs(loss - math.log(shape.vocabulary)) > 0.3:
        sys.exit(f"{name}: the first loss is {loss:.2f}, far from ln V")


# --- speed ----------------------------------------------------------------------------


def measure_speed(args):
    train, _, vocabulary = characters(corpus())
    shape = Shape(
        args.layers, args.heads, args.width, args.context, args.batch, vocabulary
    )
    print(f"\nTraining, {args.precision}: {shape}\n")
    names, seconds = list(CONTENDERS), {name: [] for name in CONTENDERS}
    for _ in range(args.rounds):
        for name in names:
            took, loss = CONTENDERS[name](shape, train, args.precision, args.steps)
            check_loss(name, loss, shape)
            seconds[name].append(took)
        names = names[1:] + names[:1]  # whoever comes first comes last next time
    table(seconds, shape.batch * shape.context)


def table(seconds, tokens):
    """Tokens per second, and lmlab's over each peer's, round by round."""
    print("| | tokens/s | lmlab over it: median (min–max) |")
    print("|---|---:|---:|")
    for name, times in seconds.items():
        ratios = [theirs / ours for ours, theirs in zip(seconds["lmlab"], times)]
        speed = tokens / statistics.median(times)
        print(f"| {name} | {speed:,.0f} | {spread(ratios)} |")


def spread(values, digits=2):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


# --- large ----------------------------------------------------------------------------


def measure_large(args):
    shape = Shape(
        args.large_layers,
        args.large_heads,
        args.large_width,
        args.large_context,
        args.large_batch,
        args.large_vocabulary,
    )
    for precision in args.large_precisions:
        seconds, mib = {"lmlab": [], "Trainer": []}, {}
        for number in range(args.large_rounds):
            for name in sorted(seconds, reverse=number % 2):
                took, _ = in_a_process(name, shape, precision, args)
                seconds[name].append(took)
        for name in seconds:  # apart: an allocator that gives back is a slow one
            _, mib[name] = in_a_process(name, shape, precision, args, GIVE_BACK)
        print(f"\nFine-tuning step, {precision}: {shape}\n")
        table(seconds, shape.batch * shape.context)
        print(
            "\nPeak memory: lmlab {:,.0f} MiB, Trainer {:,.0f} MiB,".format(
                *mib.values()
            )
        )
        print(f"lmlab over it: {mib['lmlab'] / mib['Trainer']:.2f}")


def in_a_process(name, shape, precision, args, env=None):
    job = {"name": name, "shape": asdict(shape), "precision": precision}
    return in_a_child("large", job | {"steps": args.large_steps}, args, env)


def child_large(name, shape, precision, steps):
    from lmlab.data import corpora
    from lmlab.memory import peak_memory

    shape = Shape(**shape)
    text = corpora.load("english").train[:2_000_000]
    ids = words(text, shape.vocabulary)
    tiny = Shape(1, 1, 8, 8, 1, 50)  # imports and first uses are not the training's
    CONTENDERS[name](tiny, [i % 50 for i in ids[:500]], precision, SKIP + 1)
    with peak_memory() as peak:
        seconds, loss = CONTENDERS[name](shape, ids, precision, steps)
    check_loss(name, loss, shape)
    return seconds, peak.mib


# --- nanogpt --------------------------------------------------------------------------


def measure_nanogpt(args):
    text = corpus()
    seconds, losses = {"lmlab": [], "nanoGPT": []}, {"lmlab": [], "nanoGPT": []}
    with tempfile.TemporaryDirectory() as folder:
        checkout = prepare_nanogpt(args.nanogpt, text, Path(folder))
        for seed in range(args.nanogpt_rounds):
            took, loss = run_nanogpt(checkout, seed, args)
            seconds["nanoGPT"].append(took)
            losses["nanoGPT"].append(loss)
            took, loss = run_ours(seed, args)
            seconds["lmlab"].append(took)
            losses["lmlab"].append(loss)
    print("\nTiny Shakespeare, characters, 4 layers × 128, one seed a round\n")
    print("| | seconds of training | validation loss: median (min–max) |")
    print("|---|---:|---:|")
    for name in ("nanoGPT", "lmlab"):
        print(f"| {name} | {spread(seconds[name], 1)} | {spread(losses[name], 4)} |")
    ratios = [ours / theirs for ours, theirs in zip(*seconds.values())]
    print(f"\nlmlab's time over nanoGPT's: {spread(ratios)}")
    recipe = FAST | {"steps": args.fast_steps or FAST["steps"]}
    print(f"lmlab's recipe: {recipe}, {args.fast_precision}, matrices × {SPREAD}")


def prepare_nanogpt(path, text, folder):
    """A copy of the checkout in which the data are ready."""
    if not (Path(path) / "train.py").exists():
        sys.exit(f"--nanogpt: there is no train.py in {path}")
    checkout = folder / "nanoGPT"
    shutil.copytree(path, checkout, ignore=shutil.ignore_patterns(".git"))
    data = checkout / "data" / "shakespeare_char"
    (data / "input.txt").write_text(text.train + text.validation)
    run([sys.executable, data / "prepare.py"], checkout, {})
    return checkout


def run_nanogpt(checkout, seed, args):
    """(seconds of its training, loss of its final weights)."""
    train = (checkout / "train.py").read_text()
    # Its seed is a constant; another one is written in, nothing else is changed.
    train = train.replace("manual_seed(1337 +", f"manual_seed({1337 + seed} +")
    (checkout / "train_seed.py").write_text(train)
    options = NANOGPT.format(steps=args.nanogpt_steps).split()
    config = "config/train_shakespeare_char.py"
    command = [sys.executable, "train_seed.py", config, *options]
    said = run([*command, "--always_save_checkpoint=True"], checkout, threads(args))
    times = re.findall(r"^iter (\d+): loss \S+, time ([\d.]+)ms", said, re.MULTILINE)
    # The first and the last step are timed with an evaluation, and are left out.
    counted = [float(ms) / 1000 for n, ms in times if 0 < int(n) < args.nanogpt_steps]
    return sum(counted), in_a_child("loss", {"checkout": str(checkout)}, args)


def run_ours(seed, args):
    job = {"seed": seed, "steps": args.fast_steps, "precision": args.fast_precision}
    return in_a_child("fast", job, args)


def child_fast(seed, steps, precision):
    import numpy as np
    import torch

    from lmlab.models.gpt import GPT, Config
    from lmlab.training import Recipe, blocks, evaluate, fit

    train, validation, vocabulary = map(np.asarray, characters(corpus()))
    torch.manual_seed(seed)
    model = GPT(Config(int(vocabulary), 64, 4, 4, 128))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(SPREAD if parameter.ndim > 1 else 1)
    recipe = Recipe(**FAST | {"steps": steps or FAST["steps"]}, precision=precision)
    history = fit(model, blocks(train, 64, recipe.batch_size, seed), recipe)
    return history.seconds[-1], evaluate(model, validation, context=64)


def child_loss(checkout):
    """The loss of the weights that nanoGPT's training has left in its checkout."""
    import numpy as np
    import torch

    from lmlab.training import evaluate

    sys.path.insert(0, checkout)
    from model import GPT, GPTConfig

    path = Path(checkout) / "out-shakespeare-char" / "ckpt.pt"
    saved = torch.load(path, weights_only=True)

    class Theirs(GPT):
        def loss(self, ids, targets):
            return self(ids, targets.where(targets != -100, -1))[1]  # -1 is ignored

    model = Theirs(GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    validation = np.asarray(characters(corpus())[1])
    return evaluate(model, validation, context=64)


# --- Processes ------------------------------------------------------------------------


def in_a_child(task, job, args, env=None):
    """What child_<task>(**job) returns, in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([task, job])]
    said = run(command, Path.cwd(), threads(args) | (env or {}))
    return json.loads(said.splitlines()[-1])


def run(command, folder, env):
    """What a command says; ends the benchmark when it fails."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nstopped:\n{done.stderr}")
    return done.stdout


def threads(args):
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(args.threads))


# --- The command ----------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7, help="speed")
    parser.add_argument("--steps", type=int, default=60, help="of each run; speed")
    parser.add_argument("--precision", default="float32", help="speed")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="speed; cpu, with --threads 1, is steadier on a busy machine",
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--large-rounds", type=int, default=5)
    parser.add_argument("--large-steps", type=int, default=SKIP + 3)
    parser.add_argument(
        "--large-precisions", nargs="+", default=["float32", "bfloat16"]
    )
    parser.add_argument("--large-layers", type=int, default=12)
    parser.add_argument("--large-heads", type=int, default=12)
    parser.add_argument("--large-width", type=int, default=768)
    parser.add_argument("--large-context", type=int, default=256)
    parser.add_argument("--large-batch", type=int, default=4)
    parser.add_argument("--large-vocabulary", type=int, default=50257)
    parser.add_argument("--nanogpt", metavar="PATH", help="a checkout of nanoGPT")
    parser.add_argument("--nanogpt-rounds", type=int, default=5)
    parser.add_argument("--nanogpt-steps", type=int, default=2000)
    parser.add_argument("--fast-steps", type=int, help="of lmlab's, beside nanoGPT")
    parser.add_argument("--fast-precision", default="bfloat16")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    if args.child:
        task, job = json.loads(args.child)
        tasks = {"large": child_large, "fast": child_fast, "loss": child_loss}
        return print(json.dumps(tasks[task](**job)))
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"Python {platform.python_version()}, {versions}, {args.threads} thread(s)")
    if "speed" in args.only:
        import torch

        global clock
        clock = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]

        torch.set_num_threads(args.threads)
        measure_speed(args)
    if "large" in args.only:
        measure_large(args)
    if "nanogpt" in args.only and args.nanogpt:
        measure_nanogpt(args)


if __name__ == "__main__":
    main()
