"""Let SmolLM2 write simple stories: a second diet for a small language model.

    lmlab fetch smollm2
    python -m tools.stories write stories.jsonl --batches 500   # overnight; goes on
    python -m tools.stories keep stories.jsonl stories.txt      # filters, doubles

Each batch draws its prompts from the word lists below by its own seed: a run that was
stopped goes on where it was, and a batch has the same prompts everywhere (its stories
may differ, by another processor's last digits). SmolLM2 is Apache-2.0.
"""

import argparse
import collections
import json
import random
import re
from pathlib import Path

SYSTEM = (
    "You write very short stories for small children. "
    "You use short sentences and simple words."
)
NAMES = """Lily|Ben|Tom|Anna|Sam|Mia|Max|Lucy|Tim|Rose|Jack|Emma|Leo|Nora|Peter|Ruth
Daisy|Oscar|Molly|Hugo"""
BEINGS = """girl|boy|cat|dog|rabbit|mouse|bear|duck|hen|pony|owl|frog|fox|hedgehog
squirrel|lamb|goose|donkey|turtle|kitten"""
FRIENDS = """grandmother|brother|sister|little bird|old horse|puppy|snail|baker|farmer
gardener|teacher|baby goat|robin|kind giant|sailor|small dragon|bee|neighbour"""
THINGS = """ball|kite|red box|boat|apple|key|cake|hat|drum|lamp|bell|basket|book|cup
coin|blanket|wheel|button|shell|pumpkin|umbrella|ladder|map|feather"""
PLACES = """garden|forest|farm|beach|kitchen|market|river|hill|barn|school|village|park
snow|attic|meadow|island|bridge|mill"""
PLOTS = """They look for something that was lost.
One of them is afraid, and the other helps.
They build something together.
They quarrel, and make up again.
A storm comes, and they find shelter.
One of them wants to keep it, and learns to share.
They help a stranger who is sad.
Something breaks, and they mend it.
They plan a surprise for a birthday.
One of them tells a lie, and then says sorry."""


def one_of(draw, listed):
    """One of the entries of a list above, which stand between bars and line ends."""
    return draw.choice(re.split(r"[|\n]", listed))


def prompts(batch, count):
    """The prompts of a batch: a list of {name, being, thing, prompt}."""
    draw, made = random.Random(f"stories {batch}"), []
    for _ in range(count):
        name, being = one_of(draw, NAMES), one_of(draw, BEINGS)
        thing = one_of(draw, THINGS)
        friend, place = one_of(draw, FRIENDS), one_of(draw, PLACES)
        text = (
            f"Write a short story about a {being} named {name} and a {friend}. There "
            f"is a {thing} in the story. It happens in or near the {place}. "
            f"{draw.choice(PLOTS.splitlines())} The story ends happily."
        )
        made.append({"name": name, "being": being, "thing": thing, "prompt": text})
    return made


def write(path, batches, size, threads, length=200):
    """Append batches of stories to path, one JSON object a line."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lmlab.models import packages

    torch.set_num_threads(threads)
    folder = packages.folder("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    done = [json.loads(line)["batch"] for line in path.open()] if path.exists() else []
    for batch in range(max(done, default=-1) + 1, batches):
        asked = prompts(batch, size)
        chats = [
            [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": a["prompt"]},
            ]
            for a in asked
        ]
        batch_of = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt",
            return_dict=True,
        )  # fmt: skip
        torch.manual_seed(batch)
        out = model.generate(
            **batch_of, max_new_tokens=length, do_sample=True, temperature=0.5,
            top_p=0.95, repetition_penalty=1.05,
        )  # fmt: skip
        new = tokenizer.batch_decode(
            out[:, batch_of["input_ids"].shape[1] :], skip_special_tokens=True
        )
        with path.open("a", encoding="utf-8") as file:
            for each, story in zip(asked, new):
                line = {"batch": batch, **each, "story": story}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"batch {batch}: {sum(map(len, new))} characters", flush=True)


def tidy(entry):
    """The story up to its last whole sentence, or None for one to leave out.

    Left out: shorter than 300 characters, other than plain ASCII, about somebody else
    than it was asked for, or going round in circles (a run of four words three times).
    """
    text = entry["story"].translate(str.maketrans("’‘“”—–", "''\"\"--"))
    text = re.sub(r"\s*\n\s*", "\n", text).strip()
    end = max(text.rfind(mark) for mark in (".", "!", "?", '."', '!"', '?"'))
    text = text[: end + 2 if text[end + 1 : end + 2] == '"' else end + 1]
    words = re.findall(r"[a-z']+", text.lower())
    runs = collections.Counter(zip(*(words[i:] for i in range(4))))
    if len(text) < 300 or not text.isascii() or re.search(r"[*#\[\]{}|]|story", text):
        return None
    if entry["name"] not in text or entry["being"] not in text.lower():
        return None
    return None if max(runs.values(), default=0) > 2 else text


def main():
    """Read the command line, and write or keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["write", "keep"])
    parser.add_argument("stories", type=Path)
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.what == "write":
        write(given.stories, given.batches, given.size, given.threads)
        return
    entries = [json.loads(line) for line in given.stories.open(encoding="utf-8")]
    kept = list(dict.fromkeys(filter(None, map(tidy, entries))))
    given.text.write_text("\n\n\n".join(kept) + "\n", encoding="utf-8")
    print(f"{len(kept)} of {len(entries)} stories, {given.text.stat().st_size} bytes")


if __name__ == "__main__":
    main()
