"""How fast is a tokenizer in pure Python? lmlab.text against `tokenizers` (Rust).

    python benchmarks/tokenizer.py                   # everything, a few minutes
    python benchmarks/tokenizer.py --text my.txt     # on a text of your own
    python benchmarks/tokenizer.py --threads 2       # threads that the library may use

The text is tiny Shakespeare where it can be had, otherwise Austen's novels; for
encoding the vocabulary is GPT-2's.
Rounds are interleaved, each in another order, and every ratio is between times of one
round. Before anything is timed, merges and ids are compared: they must be equal.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path

NAMES = ("lmlab", "tokenizers")


def the_text(path):
    """(its name, the text)."""
    from lmlab import data
    from lmlab.data import corpora

    if path:
        return path, Path(path).read_bytes().decode()
    try:
        text = corpora.load("tinyshakespeare")
    except data.DataError:
        text = corpora.load("austen")
    return text.name, text.train + text.validation


def train_here(text, size):
    from lmlab.text import tokenizer

    return tokenizer.train(text, size, special_tokens=())


def train_there(text, size):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator([text], trainer)
    return library


def merges_here(trained):
    from lmlab.text import bpe

    names = ["".join(bpe.CHARACTERS[b] for b in token) for token in trained.tokens]
    return [[names[a], names[b]] for a, b in trained.merges]


def merges_there(library):
    return json.loads(library.to_str())["model"]["merges"]


def load_both(folder):
    from tokenizers import Tokenizer as Library

    from lmlab.text.tokenizer import Tokenizer

    library = Library.from_file(str(Path(folder) / "tokenizer.json"))
    return {"lmlab": Tokenizer.load(folder), "tokenizers": library}


def interleaved(functions, rounds, prepare=lambda: None):
    """{name: [seconds of each round]}; prepare() is called before each round, untimed.

    A function gets what prepare() returned.
    """
    seconds, names = {name: [] for name in functions}, list(functions)
    for _ in range(rounds):
        ready = prepare()
        for name in names:
            start = time.perf_counter()
            functions[name](ready)
            seconds[name].append(time.perf_counter() - start)
        names = names[1:] + names[:1]  # whoever comes first comes last next time
    return seconds


def row(what, seconds):
    ours, theirs = (seconds[name] for name in NAMES)
    ratios = [a / b for a, b in zip(ours, theirs)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    median = " | ".join(f"{statistics.median(s):.3f}" for s in (ours, theirs))
    print(f"| {what} | {median} | {spread} |", flush=True)


def head(title):
    print(f"\n{title}\n")
    print("| work | lmlab, s | tokenizers, s | ratio: median (min–max) |")
    print("|---|---:|---:|---:|")


def training(text, sizes, rounds):
    head("Training")
    for size in sizes:
        if merges_here(train_here(text, size)) != merges_there(train_there(text, size)):
            sys.exit(f"at {size} tokens the merges differ: nothing was timed")
        functions = {
            "lmlab": lambda _, size=size: train_here(text, size),
            "tokenizers": lambda _, size=size: train_there(text, size),
        }
        row(f"train to {size:,} tokens", interleaved(functions, rounds))


def growth(text, size, parts, rounds):
    """Seconds to train on 1/8, 1/4, 1/2 and all of a text."""
    print(f"\nTraining to {size:,} tokens against the size of the text\n")
    print("| MB of text | seconds, least | microseconds per byte |")
    print("|---:|---:|---:|")
    for part in parts:
        piece = text[: len(text) // part]
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            train_here(piece, size)
            seconds.append(time.perf_counter() - start)
        count, least = len(piece.encode()), min(seconds)
        print(f"| {count / 1e6:.2f} | {least:.3f} | {least / count * 1e6:.3f} |")


def encoding(text, folder, letters, rounds):
    both = load_both(folder)
    ids = both["lmlab"].encode(text)
    if ids != both["tokenizers"].encode(text).ids:
        sys.exit("the ids differ: nothing was timed")
    head("Encoding and decoding")
    fresh = {
        "lmlab": lambda both: both["lmlab"].encode(text),
        "tokenizers": lambda both: both["tokenizers"].encode(text),
    }
    row("encode, first time", interleaved(fresh, rounds, lambda: load_both(folder)))
    row("encode again", interleaved(fresh, rounds, lambda: both))
    lines = text.splitlines(keepends=True)
    by_line = {
        "lmlab": lambda _: [both["lmlab"].encode(line) for line in lines],
        "tokenizers": lambda _: both["tokenizers"].encode_batch_fast(lines),
    }
    row(f"encode {len(lines):,} lines one by one", interleaved(by_line, rounds))
    word = "".join(random.Random(0).choices("abcdefghijklmnop", k=letters))
    one_word = {
        "lmlab": lambda _: both["lmlab"].encode(word),
        "tokenizers": lambda _: both["tokenizers"].encode(word),
    }
    row(f"encode a word of {letters:,} letters", interleaved(one_word, rounds))
    run = "a" * letters
    one_letter = {
        "lmlab": lambda _: both["lmlab"].encode(run),
        "tokenizers": lambda _: both["tokenizers"].encode(run),
    }
    row(f"encode {letters:,} equal letters", interleaved(one_letter, rounds))
    back = {
        "lmlab": lambda _: both["lmlab"].decode(ids),
        "tokenizers": lambda _: both["tokenizers"].decode(ids),
    }
    row("decode", interleaved(back, rounds))


def memory(text, folder, repeats):
    """Peak memory of encode_file against the size of the file."""
    tokenizer = load_both(folder)["lmlab"]
    tokenizer.encode(text)  # the cache of words, which is bounded, is full from here
    print("\nPeak memory while a file is encoded, pieces of 64 KiB, MiB\n")
    print("| MB of text | ids in memory | of that the ids | ids to a file |")
    print("|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as place:
        path, out = Path(place) / "text.txt", Path(place) / "ids.npy"
        for count in repeats:
            path.write_bytes(text.encode() * count)
            peaks = []
            for to in (None, out):
                tracemalloc.start()
                ids = tokenizer.encode_file(path, to, piece=1 << 16)
                peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
                tracemalloc.stop()
            size = path.stat().st_size / 1e6
            own = ids.nbytes / 2**20
            print(f"| {size:.1f} | {peaks[0]:.1f} | {own:.1f} | {peaks[1]:.1f} |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", help="a UTF-8 file (default: tiny Shakespeare)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 16_384])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="for the library")
    parser.add_argument("--letters", type=int, default=1_000_000, help="a long word's")
    parser.add_argument("--characters", type=int, help="take only so much of the text")
    args = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if args.threads > 1 else "false"
    from lmlab.text.tokenizer import gpt2

    name, text = the_text(args.text)
    text = text[: args.characters]
    print(f"Python {platform.python_version()}, tokenizers {version('tokenizers')}")
    print(f"{name}: {len(text.encode()) / 1e6:.2f} MB; {args.threads} thread(s)")
    training(text, args.sizes, args.rounds)
    growth(text, args.sizes[0], [8, 4, 2, 1], args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        gpt2().save(folder)
        encoding(text, folder, args.letters, args.rounds)
        memory(text, folder, [1, 4, 16])


if __name__ == "__main__":
    main()
