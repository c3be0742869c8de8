"""The README.md of a trained model: from what, at what cost, how good, and what not.

    card = model_card.write(facts, rivals, samples, how, language="en")
    pretrained.save(model, tokenizer, folder, card=card)

The headings follow Mitchell and others (2019), *Model cards for model reporting*. Every
number comes from the caller, and so does every word about the text, the licence and the
making of this model; what is not given is not said. What remains is true of any small
language model.
"""

import json
import string

TEMPLATE = """\
---
{metadata}
---

# A small GPT, trained on "{name}"

GPT-2's architecture with {parameters:,} parameters: {layers} blocks, {heads} heads,
width {width}, context {context}, a vocabulary of {vocabulary:,} tokens.{made}

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

It knows what texts like its training text show, and little else. It has no knowledge of
the world and follows no instructions; it states falsehoods as fluently as facts, and it
may repeat stretches of its training text. It is for teaching: do not rely on it.
"""

# Of lesson 06's Transformer, which is no language model.
READS_DATES = """\
# A Transformer that reads dates

{parameters:,} parameters: {num_encoder_layers} encoder and {num_decoder_layers} decoder
layers, width {width}, {num_heads} heads, {hidden} hidden units, pre-norm, rotary
positions in the self-attention; weights in float16. It reads a date in any of the 23
formats of `lmlab.data.dates`, English and Chinese, and writes ISO 8601. Made by

    {command}

## Data and cost

{steps:,} updates of {batch_size} dates that `lmlab.data.dates` wrote, of the days of
its training split without those of `UNSEEN_YEARS`; seed {seed}. {minutes:.1f} minutes
on {device}. Nobody's data: the licence is that of the code, Apache-2.0.

## How good it is

Exact match on {dates:,} dates each; beside it networks trained alike, of other seeds:

| | this network | other seeds |
|---|---|---|
| days never seen | {days_first:.4f} | {days_others} |
| years never seen | {years_first:.4f} | {years_others} |

## What it is not

A date that is written in another way, or no date at all, it answers too, and wrongly.
It is for teaching: do not rely on it.
"""


def reads_dates(model, facts):
    """The card of lesson 06's Transformer, made of its config and of facts.

    facts: {field: value} of READS_DATES; "days" and "years" are lists of exact matches,
    of this network first, then of others. Raises KeyError for a missing one.
    """
    facts = model.config | facts
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    for name in ("days", "years"):
        first, *others = facts[name]
        facts[f"{name}_first"] = first
        facts[f"{name}_others"] = (
            ", ".join(f"{share:.4f}" for share in others) or "none"
        )
    return READS_DATES.format(**facts)


def write(
    facts, rivals, samples, how, *, language=None, licence=None, description=None
):
    """The text of the card.

    facts: {field: value} for the template's fields (a missing one raises ValueError
    and names it); a "command" among them says what made the model. rivals {name: bits
    per byte}; samples: texts, drawn as `how` says. language (a code such as "en", or a
    list of such) and licence (of the weights, as the Hub names it: "apache-2.0") stand
    in the card's head, description, a sentence or more, under its title; each is left
    out when it is None.
    """
    rows = "\n".join(f"| {name} | {bits:.3f} |" for name, bits in rivals.items())
    quotes = "\n\n".join("> " + s.strip().replace("\n", "\n> ") for s in samples)
    facts = dict(facts) | {"rivals": rows, "samples": quotes, "how": how}
    facts["metadata"] = _metadata(language, licence)
    facts["made"] = _made(description, facts.get("command"))
    fields = {field for _, field, _, _ in string.Formatter().parse(TEMPLATE) if field}
    missing = sorted(fields - set(facts))
    if missing:
        raise ValueError(f"the card lacks {', '.join(missing)}")
    return TEMPLATE.format(**facts)


def _metadata(language, licence):
    """The lines of YAML that the Hub reads; values as JSON, which YAML includes."""
    known = {
        "language": language,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": licence,
    }
    lines = (f"{key}: {json.dumps(value)}" for key, value in known.items() if value)
    return "\n".join(lines)


def _made(description, command):
    """The description and the command, each as a paragraph of its own."""
    made = "" if description is None else f"\n\n{description.strip()}"
    if command is not None:
        made += f"\n\nMade with lmlab, by\n\n    {command}"
    return made
