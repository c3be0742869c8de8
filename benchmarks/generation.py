"""How fast does lmlab generate text, and in which precision? Against Hugging Face.

    python benchmarks/generation.py                # GPT-2's shape, some minutes
    python benchmarks/generation.py --skip-perplexity --rounds 9

GPT-2's shape (124 M parameters) with random weights, one sequence, greedy, on the CPU,
beside GPT2LMHeadModel.generate with the same weights in float32 and bfloat16. Four
tables: tokens per second; seconds per token behind 100 and behind 1,000 others; the
first token of a long prompt; and what a precision does to the perplexity, on the model
and the validation text inside lmlab (random weights have no perplexity worth saving).

Rounds are interleaved, each in another order, and every ratio is between times of one
round, so that a machine that is slower for a while slows all.
"""

import argparse
import math
import os
import platform
import statistics
import time
from importlib.metadata import version

PRECISIONS = ("float32", "bfloat16", "int8")
BASE = "Hugging Face float32"


def contenders(args):
    """{name: model}, all with the same weights."""
    import torch

    from lmlab.methods import quantization as quantized
    from lmlab.models import gpt, pretrained

    torch.manual_seed(args.seed)
    config = gpt.Config(
        args.vocab_size, args.context, args.layers, args.heads, args.width
    )
    model = gpt.GPT(config).eval()
    models = {BASE: pretrained.to_huggingface(model)}
    models["Hugging Face bfloat16"] = pretrained.to_huggingface(model).bfloat16()
    for precision in args.precisions:
        models[f"lmlab {precision}"] = quantized.for_generation(model, precision)
    return models


def generated(model, prompt, count):
    """The new ids, by whichever of the two."""
    import torch

    from lmlab.generation import generate
    from lmlab.models import gpt

    if isinstance(model, gpt.GPT):
        return generate(model, prompt, count)[0]
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
    )
    return out[0, len(prompt) :].tolist()


def random_prompt(args, length):
    import torch

    generator = torch.Generator().manual_seed(args.seed)
    return torch.randint(args.vocab_size, (length,), generator=generator).tolist()


def interleaved(tasks, rounds):
    """{name: [result of each round]} of functions without arguments."""
    names, results = list(tasks), {name: [] for name in tasks}
    for _ in range(rounds):
        for name in names:
            results[name].append(tasks[name]())
        names = names[1:] + names[:1]  # whoever comes first comes last next time
    return results


# --- Tokens per second ----------------------------------------------------------------


def measure_speed(models, args):
    """{name: [seconds per token of each round]}; float32 must give equal texts."""
    prompt = random_prompt(args, args.prompt)
    texts = {name: generated(m, prompt, args.tokens) for name, m in models.items()}
    if "lmlab float32" in texts and texts["lmlab float32"] != texts[BASE]:
        raise SystemExit("lmlab's text in float32 is not Hugging Face's")

    def task(model):
        def seconds():
            start = time.perf_counter()
            generated(model, prompt, args.tokens)
            return (time.perf_counter() - start) / args.tokens

        return seconds

    tasks = {name: task(model) for name, model in models.items()}
    return interleaved(tasks, args.rounds)


def report_speed(seconds, args):
    print(f"\n{args.tokens} tokens behind a prompt of {args.prompt}\n")
    print("| | tokens/s | over Hugging Face float32: median (min–max) |")
    print("|---|---:|---:|")
    for name, times in seconds.items():
        ratios = [b / a for a, b in zip(times, seconds[BASE])]
        print(f"| {name} | {1 / statistics.median(times):.1f} | {spread(ratios)} |")


# --- A token behind many --------------------------------------------------------------


def stepper(model, prompt):
    """A function that reads the prompt, and one that then makes a token a time."""
    import torch

    from lmlab.models import gpt

    ids = torch.tensor([prompt])
    if isinstance(model, gpt.GPT):
        cache = gpt.Cache(model)
        step = lambda ids: model.logits(model.hidden(ids, cache)[:, -1])  # noqa: E731
    else:
        from transformers import DynamicCache

        cache = DynamicCache(config=model.config)
        step = lambda ids: model(  # noqa: E731
            ids, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits[:, -1]
    return ids, step


def measure_lengths(models, args):
    """{(name, length): [(seconds to read, seconds per token) of each round]}."""
    import torch

    def task(model, length):
        def seconds():
            with torch.inference_mode():
                ids, step = stepper(model, random_prompt(args, length))
                start = time.perf_counter()
                token = step(ids).argmax(-1, keepdim=True)
                read = time.perf_counter() - start
                times = []
                for _ in range(args.steps):
                    start = time.perf_counter()
                    token = step(token).argmax(-1, keepdim=True)
                    times.append(time.perf_counter() - start)
            return read, statistics.median(times)

        return seconds

    tasks = {
        (name, length): task(model, length)
        for name, model in models.items()
        for length in args.lengths
    }
    for run in tasks.values():  # once to warm up
        run()
    return interleaved(tasks, args.rounds)


def report_lengths(results, models, args):
    short, long = args.lengths
    print(f"\nMilliseconds for one token behind {short:,} and behind {long:,}\n")
    print(f"| | {short:,} | {long:,} | ratio: median (min–max) | reading {long:,} |")
    print("|---|---:|---:|---:|---:|")
    for name in models:
        one, two = ([t for _, t in results[name, n]] for n in (short, long))
        reading = statistics.median(read for read, _ in results[name, long])
        ratios = [b / a for a, b in zip(one, two)]
        print(
            f"| {name} | {1e3 * statistics.median(one):.1f} "
            f"| {1e3 * statistics.median(two):.1f} | {spread(ratios)} "
            f"| {1e3 * reading:.0f} ms |"
        )


# --- Perplexity -----------------------------------------------------------------------


def measure_perplexity(args):
    """{precision: nats per token} of the model inside lmlab, and the tokens counted."""
    import torch

    from lmlab.data import corpora
    from lmlab.methods import quantization as quantized
    from lmlab.models import pretrained

    model, tokenizer = pretrained.load("shipped")
    text = corpora.load("english").validation[: args.characters]
    ids = torch.as_tensor(corpora.token_ids(tokenizer, text)).long()
    losses = {}
    for precision in args.precisions:
        small = quantized.for_generation(model, precision)
        losses[precision] = read_aloud(small, ids)
    return losses, len(ids)


def read_aloud(model, ids):
    """Nats per token of a text read in blocks, by way of a cache as prompts are."""
    import torch
    import torch.nn.functional as F

    from lmlab.models import gpt

    T, total, count = model.config.context, 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, T):
            block = ids[start : start + T + 1]
            hidden = model.hidden(block[None, :-1], gpt.Cache(model))
            logits = model.logits(hidden)[0].float()
            total += F.cross_entropy(logits, block[1:], reduction="sum").item()
            count += len(block) - 1
    return total / count


def report_perplexity(losses, count):
    print(f"\nPerplexity of the shipped model on {count:,} tokens of validation text\n")
    print("| precision | perplexity | over float32 |")
    print("|---|---:|---:|")
    for precision, loss in losses.items():
        over = math.exp(loss - losses["float32"]) - 1
        print(f"| {precision} | {math.exp(loss):.3f} | {100 * over:+.3f} % |")


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--layers", type=int, default=12)
    add("--heads", type=int, default=12)
    add("--width", type=int, default=768)
    add("--vocab-size", type=int, default=50257)
    add("--context", type=int, default=1024)
    add("--prompt", type=int, default=32, help="tokens to begin with")
    add("--tokens", type=int, default=64, help="tokens to generate")
    add("--lengths", type=int, nargs=2, default=[100, 1000], metavar=("SHORT", "LONG"))
    add("--steps", type=int, default=16, help="tokens timed behind each length")
    add("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    add("--characters", type=int, default=400_000, help="of text for perplexity")
    add("--rounds", type=int, default=5)
    add("--threads", type=int, default=os.cpu_count())
    add("--seed", type=int, default=0)
    for part in ("speed", "lengths", "perplexity"):
        add(f"--skip-{part}", action="store_true")
    args = parser.parse_args()
    if not args.skip_lengths and max(args.lengths) + args.steps > args.context:
        parser.error("--lengths and --steps are more than --context")
    return args


def main():
    args = arguments()
    import torch

    torch.set_num_threads(args.threads)
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "transformers")
    )
    print(f"{platform.machine()}, {args.threads} thread(s), {packages}")
    if not (args.skip_speed and args.skip_lengths):
        models = contenders(args)
        size = models[f"lmlab {args.precisions[0]}"].config
        print(f"{size}, {args.rounds} rounds")
    if not args.skip_speed:
        report_speed(measure_speed(models, args), args)
    if not args.skip_lengths:
        report_lengths(measure_lengths(models, args), models, args)
    if not args.skip_perplexity:
        report_perplexity(*measure_perplexity(args))


if __name__ == "__main__":
    main()
