"""Text from a GPT: greedy, sampled or by beam search; see lesson 08.

    ids = generate(model, tokenizer.encode("Once"), 50, temperature=0.8, seed=0)[0]
    tokenizer.decode(ids)

Keys and values of what was read are kept (gpt.Cache), so that a token costs about the
same wherever it stands.
"""

import operator
from dataclasses import dataclass
from functools import partial

import torch

from lmlab.generation import beams as beam_search
from lmlab.generation import sampling
from lmlab.generation.running_text import RunningText
from lmlab.models.wrappers import gpt_inside


def generate(
    model,
    prompt_ids,
    num_tokens,
    *,
    num_sequences=1,
    temperature=0.0,
    top_k=None,
    top_p=None,
    repetition_penalty=1.0,
    beams=1,
    stop=(),
    seed=None,
    use_cache=True,
    crop=False,
    vocab_size=None,
):
    """Continue a prompt, or each of several; returns lists of new ids alone.

    prompt_ids: ids of one prompt, or a list of such (they may differ in length). Each
    gives num_sequences lists, one after the other, of num_tokens ids, or fewer: a list
    ends with the first id of `stop` that it meets.
    temperature: 0 takes the likeliest id; above 0 one is drawn, among the top_k and
    top_p likeliest if given (see `generation.sampling`). repetition_penalty: above 1
    makes ids that came before less likely. beams: above 1 searches for the likeliest
    whole continuation (see `generation.beams`), the best first. seed: the same seed
    draws the same; None draws anew. The global random generators are never used.
    use_cache=False reads everything again for each id: slower, and the same. crop: of
    a prompt that is too long keep the end; without it, that is an error.
    vocab_size: of the tokenizer, if the model has more rows than it has ids: those to
    spare are never chosen (`pretrained.load` leaves them out by itself).
    Raises ValueError or TypeError, naming the argument.
    """
    prompts = _prompts(prompt_ids)
    choice = _Choice(
        num_tokens, num_sequences, temperature, top_k, top_p, repetition_penalty, beams
    )
    num_tokens, num_sequences, beams = (
        choice.num_tokens, choice.num_sequences, choice.beams
    )  # fmt: skip
    model = gpt_inside(model)
    vocab_size = _vocab_size(vocab_size, model.config.vocab_size)
    stop = _stop(stop, vocab_size)
    prompts = _fitting(prompts, num_tokens, model.config, vocab_size, crop)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            begin = partial(
                RunningText,
                model,
                num_tokens=num_tokens,
                use_cache=use_cache,
                remember=repetition_penalty != 1,
                vocab_size=vocab_size,
            )
            if beams == 1:
                return _sample(begin(prompts), choice, stop, seed)
            found = []
            for prompt in prompts:
                text = begin([prompt])
                found += beam_search.search(
                    text, num_tokens, beams, stop, repetition_penalty
                )[:num_sequences]
            return found
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class _Choice:
    """How the next id is chosen; refuses what makes no sense."""

    num_tokens: int
    num_sequences: int
    temperature: float
    top_k: int | None
    top_p: float | None
    penalty: float
    beams: int

    def __post_init__(self):
        for name in ("num_tokens", "num_sequences", "beams", "top_k"):
            value = getattr(self, name)
            if value is None and name == "top_k":
                continue
            whole = _whole(value)
            if whole is None or whole < 1:
                raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
            object.__setattr__(self, name, whole)
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be 0 (greedy) or more, got {self.temperature!r}"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p!r}")
        if not 0 < self.penalty < float("inf"):
            raise ValueError(
                f"repetition_penalty must be above 0, got {self.penalty!r}"
            )
        self._check_together()

    def _check_together(self):
        if self.temperature == 0 and (self.top_k, self.top_p) != (None, None):
            raise ValueError(
                "top_k and top_p choose what is drawn from, and temperature=0 draws "
                "nothing: set temperature above 0"
            )
        if self.beams == 1:
            if self.temperature == 0 and self.num_sequences > 1:
                raise ValueError(
                    f"num_sequences={self.num_sequences} would all be the same with "
                    "temperature=0: set temperature above 0, or beams"
                )
        elif self.temperature > 0:
            raise ValueError("beams search and do not draw: leave temperature at 0")
        elif self.num_sequences > self.beams:
            raise ValueError(
                f"{self.beams} beams cannot give {self.num_sequences} sequences: "
                "num_sequences must be at most beams"
            )


def _sample(text, choice, stop, seed):
    generator = torch.Generator(device=text.device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    logits = text.begin()
    if choice.num_sequences > 1:  # each prompt was read once
        rows = torch.arange(len(logits), device=text.device)
        rows = rows.repeat_interleave(choice.num_sequences)
        text.pick(rows)
        logits = logits[rows]
    chosen, running = [], [True] * len(logits)
    for _ in range(choice.num_tokens):
        if chosen:
            logits = text.add(chosen[-1])
        chosen.append(_choose(logits, text, choice, generator))
        if stop:
            last = chosen[-1].tolist()
            running = [r and i not in stop for r, i in zip(running, last)]
            if not any(running):
                break
    return [_until(ids, stop) for ids in torch.stack(chosen, 1).tolist()]


def _choose(logits, text, choice, generator):
    """The next id of each row (R,)."""
    logits = logits.float()
    if choice.penalty != 1:
        logits = sampling.penalise(logits, text.seen, choice.penalty)
    if choice.temperature == 0:
        return logits.argmax(-1)
    logits = sampling.filtered(logits, choice.temperature, choice.top_k, choice.top_p)
    return sampling.draw(logits, generator)


def _until(ids, stop):
    ends = (place for place, i in enumerate(ids) if i in stop)
    return ids[: next(ends, len(ids)) + 1]


def _prompts(prompt_ids):
    """A list of prompts, each a list of int that is not empty."""
    ids = prompt_ids.tolist() if hasattr(prompt_ids, "tolist") else list(prompt_ids)
    if not ids:
        raise ValueError(
            "prompt_ids is empty: begin with one id at least, such as tokenizer.end"
        )
    one = hasattr(ids[0], "__index__") and not getattr(ids[0], "ndim", 0)
    try:
        prompts = [[operator.index(i) for i in p] for p in ([ids] if one else ids)]
    except TypeError:
        raise TypeError(
            "prompt_ids must be ids (whole numbers) or a list of such; text is encoded "
            "by tokenizer.encode"
        ) from None
    if not all(prompts):
        raise ValueError("prompt_ids holds an empty prompt: begin with tokenizer.end")
    return prompts


def _whole(value):
    """The value, an int or NumPy's, as an int; None for what is no whole number."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _vocab_size(vocab_size, rows):
    if vocab_size is None:
        return rows
    whole = _whole(vocab_size)
    if whole is None or not 1 <= whole <= rows:
        raise ValueError(
            f"vocab_size must be a whole number in 1 … {rows}, the rows of the model, "
            f"got {vocab_size!r}"
        )
    return whole


def _stop(stop, vocabulary):
    ids, one = set(), isinstance(stop, bool) or _whole(stop) is not None
    for i in [stop] if one else stop:
        whole = _whole(i)
        if whole is None or not 0 <= whole < vocabulary:
            raise ValueError(f"stop must hold ids in 0 … {vocabulary - 1}, got {i!r}")
        ids.add(whole)
    return ids


def _fitting(prompts, num_tokens, config, vocabulary, crop):
    """The prompts, cut at the left where the caller allows it; ids looked at."""
    room = config.context - num_tokens + 1
    if room < 1:
        raise ValueError(
            f"num_tokens={num_tokens} is more than the model's context of "
            f"{config.context} has room for"
        )
    longest = max(map(len, prompts))
    if longest > room and not crop:
        raise ValueError(
            f"the prompt has {longest} tokens, and with num_tokens={num_tokens} the "
            f"context of {config.context} has room for {room}: shorten it, or pass "
            "crop=True to keep its end"
        )
    prompts = [prompt[-room:] for prompt in prompts]
    for i in (i for prompt in prompts for i in prompt):
        if not 0 <= i < vocabulary:
            raise ValueError(f"prompt_ids must lie in 0 … {vocabulary - 1}, got {i}")
    return prompts
