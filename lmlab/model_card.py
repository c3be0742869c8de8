"""The README.md of a trained model: from what, at what cost, how good, and what not.

    pretrained.save(model, tokenizer, folder, card=model_card.write(facts))

The headings follow Mitchell and others (2019), *Model cards for model reporting*. Every
number comes from the caller; the words about what the model is not do not depend on it.
"""

import string

TEMPLATE = """\
---
language: en
library_name: transformers
pipeline_tag: text-generation
license: apache-2.0
---

# A small GPT, trained on "{name}"

GPT-2's architecture with {parameters:,} parameters: {layers} blocks, {heads} heads,
width {width}, context {context}, a byte-level BPE vocabulary of {vocabulary:,} tokens
that was trained on the same text. Made by

    {command}

of lmlab, lesson 08, so that lessons have a language model offline.

## Data

"{name}": {source}. {train_bytes:,} bytes ({train_tokens:,} tokens) to train,
{validation_bytes:,} bytes held out. Licence of the text: {licence}.

## Cost

{steps:,} updates of {batch_size} × {context} tokens: {tokens:,} tokens, {epochs:.1f}
times the text. AdamW, highest learning rate {lr:g}, dropout {dropout:g}, {precision},
seed {seed}. {minutes:.1f} minutes on {device} with {threads} thread(s),
{speed:,.0f} tokens per second.

## How good it is

On the held-out text: {loss:.4f} nats per token, perplexity {perplexity:.2f},
{bits:.3f} bits per byte. Other ways to predict the same text:

| | bits per byte |
|---|---|
{rivals}
| **this model** | **{bits:.3f}** |

## What it writes

{how}; the first answer to each prompt, not the best of many:

{samples}

## What it is not

It knows the English of software documentation and little else. It has no knowledge of
the world and follows no instructions; it states falsehoods as fluently as facts, and it
may repeat stretches of its training text. It is for teaching: do not rely on it.
"""


def write(facts, rivals, samples, how):
    """The text of the card.

    facts: {field: value} for the template's fields (a missing one raises ValueError
    and names it); rivals {name: bits per byte}; samples: texts, drawn as `how` says.
    """
    rows = "\n".join(f"| {name} | {bits:.3f} |" for name, bits in rivals.items())
    quotes = "\n\n".join("> " + s.strip().replace("\n", "\n> ") for s in samples)
    facts = dict(facts) | {"rivals": rows, "samples": quotes, "how": how}
    fields = {field for _, field, _, _ in string.Formatter().parse(TEMPLATE) if field}
    missing = sorted(fields - set(facts))
    if missing:
        raise ValueError(f"the card lacks {', '.join(missing)}")
    return TEMPLATE.format(**facts)
