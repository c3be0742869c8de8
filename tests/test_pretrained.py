"""Models in Hugging Face's format: both ways, and every file that is not one."""

import copy
import errno
import json
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
)

from lmlab.generation import generate
from lmlab.models import pretrained
from lmlab.models.gpt import GPT, Config
from lmlab.models.hub import WeightsError
from lmlab.models.transformer import Transformer
from lmlab.text import tokenizer

TEXT = "The quick brown fox jumps over the lazy dog; 敏捷的棕色狐狸。 " * 3


@pytest.fixture(scope="module")
def tokens():
    return tokenizer.train(TEXT, 270)


@pytest.fixture(scope="module")
def model(tokens):
    torch.manual_seed(0)
    config = Config(tokens.vocab_size, context=32, num_layers=3, num_heads=5, width=20)
    model = GPT(config)
    for p in model.parameters():
        torch.nn.init.normal_(p, float(p.ndim == 1), 0.3)
    return model.eval()


@pytest.fixture
def ids(model):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(model.config.vocab_size, (3, 17), generator=generator)


@pytest.fixture
def folder(model, tokens, tmp_path):
    pretrained.save(model, tokens, tmp_path / "model", "# A card\n")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def quiet():
    """No progress bars of transformers' in the output of a test that fails."""
    transformers.utils.logging.disable_progress_bar()


# --- Both ways ------------------------------------------------------------------------


def test_a_folder_comes_back_as_it_was(folder, model, tokens, ids):
    again, same = pretrained.load(folder)
    assert again.config == model.config
    assert not again.training
    for (name, p), (_, q) in zip(again.named_parameters(), model.named_parameters()):
        assert torch.equal(p, q), name
        assert p.requires_grad
    assert torch.equal(again(ids), model(ids))
    assert same.encode(TEXT) == tokens.encode(TEXT)
    assert (folder / "README.md").read_text() == "# A card\n"
    assert pretrained.load(str(folder))[0].config == model.config
    again.loss(ids, ids).backward()  # it can be trained
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1  # whoever may read one may read all


def test_transformers_loads_what_save_writes(folder, model, tokens, ids):
    theirs, info = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert isinstance(theirs, GPT2LMHeadModel)
    assert not any(info.values()), info  # nothing missing, nothing unexpected
    torch.testing.assert_close(theirs(ids).logits, model(ids), atol=1e-5, rtol=0)
    assert theirs.config.eos_token_id == tokens.end
    assert AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"] == tokens.encode(
        TEXT
    )


def test_what_transformers_saves_is_loaded(folder, model, ids, tmp_path):
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "theirs")
    assert torch.equal(pretrained.load_model(tmp_path / "theirs")(ids), model(ids))


@pytest.mark.parametrize("shape", [(2, 1, 2), (1, 3, 9), (4, 8, 64)])
def test_logits_of_huggingfaces_random_weights(shape):
    layers, heads, width = shape
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=61,
            n_positions=40,
            n_layer=layers,
            n_head=heads,
            n_embd=width,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    ours = pretrained.from_huggingface(theirs)
    ids = torch.randint(61, (2, 40))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-4, rtol=0)
    assert ours.config.dropout == 0.1
    assert pretrained.from_huggingface(theirs, dropout=0.0).config.dropout == 0
    assert pretrained.from_huggingface(theirs.train()).training
    with torch.no_grad():  # a copy: theirs does not move with ours
        ours.token_embedding.weight.zero_()
    assert theirs.transformer.wte.weight.abs().sum() > 0


def test_to_huggingface_is_a_tied_copy_and_draws_nothing(model, ids):
    before = torch.get_rng_state()
    theirs = pretrained.to_huggingface(model, end=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert theirs.lm_head.weight is theirs.transformer.wte.weight
    assert theirs.config.eos_token_id == 7
    assert not theirs.training
    torch.testing.assert_close(theirs(ids).logits, model(ids), atol=1e-5, rtol=0)
    again = pretrained.from_huggingface(theirs)
    assert torch.equal(again(ids), model(ids))


def test_an_untied_head_goes_both_ways(tokens, tmp_path):
    torch.manual_seed(3)
    config = Config(
        tokens.vocab_size, 16, num_layers=2, num_heads=2, width=8, tied=False
    )
    model = GPT(config).eval()
    assert model.num_parameters() == GPT(
        replace(config, tied=True)
    ).num_parameters() + (tokens.vocab_size * 8)
    ids = torch.randint(tokens.vocab_size, (2, 16))
    pretrained.save(model, tokens, tmp_path / "untied")
    again, _ = pretrained.load(tmp_path / "untied")
    assert again.config == config
    torch.testing.assert_close(again(ids), model(ids))
    theirs, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "untied", output_loading_info=True
    )
    assert not any(info.values()), info
    assert theirs.config.tie_word_embeddings is False
    for other in (theirs, pretrained.to_huggingface(model)):
        assert other.lm_head.weight is not other.transformer.wte.weight
        torch.testing.assert_close(other(ids).logits, model(ids), atol=1e-5, rtol=0)
    back = pretrained.from_huggingface(theirs)
    torch.testing.assert_close(back(ids), model(ids))
    model.loss(ids, ids).backward()
    assert model.head.weight.grad.abs().sum() > 0


def test_a_model_in_half_precision_is_loaded_as_float32(model, tokens, ids, tmp_path):
    pretrained.save(model, tokens, tmp_path / "half", dtype=torch.float16)
    stored = (tmp_path / "half" / "model.safetensors").stat().st_size
    assert stored < 2.5 * model.num_parameters()
    again, _ = pretrained.load(tmp_path / "half")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    torch.testing.assert_close(again(ids), model(ids), atol=0.1, rtol=0)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "half")
    assert theirs.dtype == torch.float16


def rewrite(folder, change=None, config=None):
    """Change what a folder's weights or config.json hold."""
    path = folder / "model.safetensors"
    if change is not None:
        tensors = safetensors.torch.load_file(path)
        tensors = {name: t.clone() for name, t in tensors.items()}
        change(tensors)
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    if config is not None:
        values = json.loads((folder / "config.json").read_text())
        config(values)
        (folder / "config.json").write_text(json.dumps(values))


def test_the_hubs_old_names_and_masks_are_understood(folder, model, ids):
    """gpt2's own file: no prefix, causal masks, and sometimes the tied matrix."""

    def older(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        for i in range(3):
            tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 32, 32).tril()
            tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
        tensors["lm_head.weight"] = tensors["wte.weight"].clone()

    rewrite(folder, older)
    assert torch.equal(pretrained.load(folder)[0](ids), model(ids))


def test_weights_in_several_files(folder, model, ids):
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    theirs.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert torch.equal(pretrained.load(folder)[0](ids), model(ids))
    shards[1].unlink()
    with pytest.raises(WeightsError, match=f"lacks {shards[1].name}, which its model"):
        pretrained.load(folder)


@pytest.mark.parametrize(
    "index",
    [
        "{",
        "[]",
        '{"weight_map": {}}',
        '{"weight_map": {"a": "../../secret.safetensors"}}',
        '{"weight_map": {"a": "pytorch_model.bin"}}',
    ],
)
def test_a_list_of_files_that_is_none(folder, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match="is no list of safetensors files"):
        pretrained.load(folder)


# --- Weights that do not fit ----------------------------------------------------------


def drop(name):
    return lambda tensors: tensors.pop(name)


def put(name, tensor):
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("transformer.h.1.mlp.c_fc.bias"), r"it lacks h\.1\.mlp\.c_fc\.bias$"),
        (lambda t: [t.pop(n) for n in list(t) if ".h.2." in n], "and 9 more$"),
        (put("transformer.h.3.ln_1.bias", torch.zeros(20)), r"besides h\.3\.ln_1\.bi"),
        (put("score.weight", torch.zeros(2, 20)), "it has besides score.weight"),
        (
            put("transformer.h.0.attn.c_attn.weight", torch.zeros(60, 20)),
            r"h\.0\.attn\.c_attn\.weight is \(60, 20\), and config\.json asks for "
            r"\(20, 60\)",
        ),
        (
            put("transformer.wpe.weight", torch.zeros(64, 20)),
            r"wpe\.weight is \(64, 20\)",
        ),
        (put("lm_head.weight", torch.zeros(270, 20)), "lm_head.weight differs from"),
    ],
)
def test_weights_of_another_shape_are_named(folder, change, said):
    rewrite(folder, change)
    with pytest.raises(WeightsError, match=f"is not the checkpoint of this.*{said}"):
        pretrained.load(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model_type", "llama", "is of a 'llama' model"),
        ("activation_function", "relu", "activation_function = 'relu'"),
        ("layer_norm_epsilon", 1e-6, "layer_norm_epsilon = 1e-06"),
        ("scale_attn_by_inverse_layer_idx", True, "inverse_layer_idx = True"),
        ("tie_word_embeddings", False, "it lacks lm_head.weight"),
        ("n_inner", 33, "n_inner = 33"),
        ("n_layer", None, "layers must be a whole number from 1, got None"),
        ("n_head", 3, "num_heads must divide width: got width=20, num_heads=3"),
        ("attn_pdrop", 0.3, "different resid_pdrop, embd_pdrop, attn_pdrop"),
        ("auto_map", {"AutoModel": "evil.Model"}, "lmlab runs no code of models"),
        ("n_embd", 40, r"wte\.weight is \(270, 20\), and config\.json asks for"),
    ],
)
def test_a_config_of_another_model(folder, key, value, said):
    rewrite(folder, config=lambda values: values.update({key: value}))
    with pytest.raises(WeightsError, match=said):
        pretrained.load(folder)


def test_the_mark_that_windows_puts_in_front_is_no_part_of_a_config(folder):
    path = folder / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert pretrained.load(folder)[0].config == pretrained.load_model(folder).config


def test_a_config_that_is_broken(folder):
    rewrite(folder, config=lambda values: values.pop("n_embd"))
    with pytest.raises(WeightsError, match=r"config\.json lacks n_embd"):
        pretrained.load(folder)
    broken = {b'{"n_embd": ': "whole JSON", b'{"about": "caf\xe9"}': "UTF-8"}
    for content, said in broken.items():
        (folder / "config.json").write_bytes(content)
        with pytest.raises(WeightsError, match=rf"config\.json is not {said}"):
            pretrained.load(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="holds no configuration"):
        pretrained.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no model: it lacks config"):
        pretrained.load(folder)


def test_another_kind_of_model_object():
    bare = GPT2Model(GPT2Config(vocab_size=9, n_positions=8, n_layer=1, n_head=1,
                                n_embd=4, bos_token_id=0, eos_token_id=0))  # fmt: skip
    assert pretrained.from_huggingface(bare).config.num_layers == 1
    bert = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=9,
            hidden_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
        )
    )
    with pytest.raises(WeightsError, match="this BertModel is of a 'bert' model"):
        pretrained.from_huggingface(bert)


def test_a_tokenizer_of_another_model(folder, tmp_path, model):
    larger = tokenizer.train(TEXT, 280)
    with pytest.raises(WeightsError, match="has 280 ids, and its model knows 270"):
        pretrained.save(model, larger, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    larger.save(folder)
    with pytest.raises(WeightsError, match="they do not belong together"):
        pretrained.load(folder)


# --- Files that are none --------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_weights_that_were_cut(folder, left):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        WeightsError, match=r"model\.safetensors is damaged or cut short .*: fetch"
    ):
        pretrained.load(folder)


@pytest.mark.parametrize("length", [1 << 60, 1 << 20])
def test_weights_whose_header_lies(folder, length):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(WeightsError, match="is damaged or cut short"):
        pretrained.load(folder)


class Trap:
    """Unpickled, it would leave a mark."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["pickle", "torch", "old torch"])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "model.pkl", "weights.pt"]
)
def test_a_pickle_is_refused_and_never_opened(folder, tmp_path, kind, name):
    mark = tmp_path / "mark"
    (folder / "model.safetensors").unlink()
    if kind == "pickle":
        (folder / name).write_bytes(pickle.dumps(Trap(mark)))
    else:
        torch.save(
            Trap(mark), folder / name, _use_new_zipfile_serialization=kind == "torch"
        )
    with pytest.raises(WeightsError, match="it is a pickle, which can run any code"):
        pretrained.load(folder)
    if name != "model.safetensors":
        with pytest.raises(WeightsError, match="is a file: it is a pickle"):
            pretrained.load(folder / name)
    assert not mark.exists()


def test_names_that_are_no_model(folder, tmp_path):
    with pytest.raises(WeightsError, match="is a file: name the folder that holds"):
        pretrained.load(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"holds no weights: it lacks model\.safet"):
        pretrained.load(folder)
    with pytest.raises(
        ValueError, match="there is no model 'none-such': name a folder"
    ):
        pretrained.load("none-such")
    with pytest.raises(ValueError, match="there is no model"):
        pretrained.load(tmp_path / "none-such" / "at" / "all")
    with pytest.raises(
        ValueError, match="revision must be a commit of me/mine, 40 hex"
    ):
        pretrained.load("me/mine", revision="main")
    with pytest.raises(ValueError, match="got None: a branch or a tag can move"):
        pretrained.load("me/mine")


def test_a_folder_without_its_tokenizer(folder, model, ids):
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink()
    assert torch.equal(pretrained.load_model(folder)(ids), model(ids))
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        pretrained.load(folder)


def test_the_shipped_model_may_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "assets")
    with pytest.raises(WeightsError, match="the shipped model is not in this copy"):
        pretrained.load()


# --- Saving ---------------------------------------------------------------------------


def test_saving_again_replaces_every_file_and_leaves_the_rest(
    folder, model, tokens, ids
):
    (folder / "notes.txt").write_text("mine")
    other = GPT(model.config).eval()
    pretrained.save(other, tokens, folder, "# Another card\n")
    assert torch.equal(pretrained.load(folder)[0](ids), other(ids))
    assert (folder / "README.md").read_text() == "# Another card\n"
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["save_file", "write_text", "fsync"])
def test_a_full_disk_changes_nothing(folder, model, tokens, ids, monkeypatch, what):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        if what == "save_file":
            patch.setattr(safetensors.torch, "save_file", full)
        elif what == "write_text":
            patch.setattr(pretrained.Path, "write_text", full)
        else:
            patch.setattr(os, "fsync", full)
        other = GPT(model.config)
        with pytest.raises(WeightsError, match=r"No space left.*What was there is as"):
            pretrained.save(other, tokens, folder)
        with pytest.raises(WeightsError, match="cannot write"):
            pretrained.save(other, tokens, folder.parent / "new")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert torch.equal(pretrained.load(folder)[0](ids), model(ids))


def test_saving_into_a_folder_that_cannot_be(model, tokens, tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file", "file/model"):
        with pytest.raises(WeightsError, match=r"file is a file: name a folder") as no:
            pretrained.save(model, tokens, tmp_path / name)
        assert "make room" not in str(no.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("exists", [True, False])
def test_saving_here_and_in_the_home_folder(
    model, tokens, ids, tmp_path, monkeypatch, exists
):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    if exists:
        (home / "gpt").mkdir()
    for name, folder in ((".", here), ("~/gpt", home / "gpt"), ("../here", here)):
        pretrained.save(model, tokens, name)
        assert (folder / "model.safetensors").is_file()
        assert torch.equal(pretrained.load(name)[0](ids), model(ids))
        assert torch.equal(pretrained.load_model(name)(ids), model(ids))
    assert os.path.samefile(".", here)  # it was not replaced under the user
    assert [path.name for path in home.iterdir()] == ["gpt"]
    assert not (here / "~").exists()


# What AutoTokenizer or AutoModelForCausalLM would read beside what is saved.
READ_TOO = {
    "added_tokens.json": '{"<|im|>": 270}',
    "special_tokens_map.json": '{"pad_token": "<|im|>"}',
    "chat_template.jinja": "{{ messages }}",
    "additional_chat_templates/tool.jinja": "{{ messages }}",
    "adapter_config.json": '{"peft_type": "LORA", "base_model_name_or_path": "x", '
    '"fan_in_fan_out": true}',
}
WEIGHTS = (
    "pytorch_model.bin", "pytorch_model.bin.index.json", "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
)  # fmt: skip
MINE = (
    "README.md", "notes.txt", "best.safetensors", "data.json", "step-1.safetensors",
    "vocab.txt", "encoder.json", "vocab.bpe", "spiece.model", "tokenizer.model",
    "sentencepiece.bpe.model", "my_processor_config.json", "chat_template.json",
    "chat_template.md", "model-a-of-b.safetensors", "model.fp16.safetensors",
    "tf_model.h5", "pytorch_model_mine.bin", "adapter_model.safetensors",
    "additional_chat_templates/notes.txt",
)  # fmt: skip


def put_files(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def read_by_transformers(folder):
    """What the two make of a folder, to be compared."""
    auto = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    named = auto.special_tokens_map, str(auto.chat_template)
    return (
        len(auto),
        auto("the <|im|>").input_ids,
        *named,
        theirs(torch.ones(1, 3).long()),
    )


@pytest.mark.parametrize("name", READ_TOO)
def test_what_transformers_would_read_of_another_model_goes(
    folder, model, tokens, name
):
    expected = read_by_transformers(folder)
    put_files(folder, {name: READ_TOO[name]})
    try:
        before = read_by_transformers(folder)
    except OSError:  # an adapter without its weights
        before = None
    assert before is None or before[:-1] != expected[:-1]
    pretrained.save(model, tokens, folder)
    after = read_by_transformers(folder)
    assert after[:-1] == expected[:-1]
    torch.testing.assert_close(after[-1].logits, expected[-1].logits)
    assert not (folder / name).exists()


def test_other_weights_go_and_the_users_files_stay(folder, model, tokens):
    put_files(folder, dict.fromkeys((*WEIGHTS, *MINE), "{}"))
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin").mkdir()  # a folder is no weights
    pretrained.save(model, tokens, folder)
    assert not [name for name in WEIGHTS[1:] if (folder / name).exists()]
    assert all((folder / name).is_file() for name in MINE)
    assert (folder / "pytorch_model.bin").is_dir()
    before = AutoTokenizer.from_pretrained(folder)
    assert len(before) == tokens.vocab_size


def test_a_folder_that_held_no_model_keeps_all_it_has(model, tokens, tmp_path):
    files = dict.fromkeys((*WEIGHTS, *MINE, *READ_TOO), "mine")
    put_files(tmp_path, files)
    pretrained.save(model, tokens, tmp_path)
    assert {name: (tmp_path / name).read_text() for name in files} == files


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_goes_and_what_it_points_to_stays(folder, model, tokens, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tool.jinja").write_text("mine")
    (folder / "additional_chat_templates").symlink_to(elsewhere)
    (folder / "added_tokens.json").symlink_to(elsewhere)
    pretrained.save(model, tokens, folder)
    assert not (folder / "additional_chat_templates").is_symlink()
    assert not (folder / "added_tokens.json").is_symlink()
    assert (elsewhere / "tool.jinja").read_text() == "mine"


def test_nothing_is_removed_before_all_is_written(folder, model, tokens, monkeypatch):
    (folder / "added_tokens.json").write_text("{}")
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(WeightsError, match="What was there is as it was"):
        pretrained.save(model, tokens, folder)
    assert (folder / "added_tokens.json").exists()


def test_what_a_killed_save_left_is_no_part_of_the_next(folder, model, tokens, ids):
    (folder / ".partial").mkdir()
    (folder / ".partial" / "added_tokens.json").write_text("{}")
    pretrained.save(model, tokens, folder)
    assert not (folder / ".partial").exists()
    assert not (folder / "added_tokens.json").exists()
    assert torch.equal(pretrained.load(folder)[0](ids), model(ids))


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_whoever_may_read_the_users_files_may_read_a_model(model, tokens, tmp_path):
    before = os.umask(0o027)
    try:
        pretrained.save(model, tokens, tmp_path / "model", "# A card\n")
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


@pytest.mark.parametrize(
    "wrap", [lambda model: torch.compile(model, backend="eager"), torch.nn.DataParallel]
)
def test_a_wrapped_model_is_saved_as_the_one_inside(model, tokens, ids, tmp_path, wrap):
    pretrained.save(wrap(model), tokens, tmp_path / "model")
    assert torch.equal(pretrained.load(tmp_path / "model")[0](ids), model(ids))
    theirs = pretrained.to_huggingface(wrap(model))
    torch.testing.assert_close(theirs(ids).logits, model(ids), atol=1e-5, rtol=0)


def test_parts_that_are_compiled_are_saved_under_their_own_names(
    model, tokens, ids, tmp_path
):
    parts = copy.deepcopy(model)
    parts.blocks[0] = torch.compile(parts.blocks[0], backend="eager")
    parts.blocks[1].mlp.up = torch.compile(parts.blocks[1].mlp.up, backend="eager")
    pretrained.save(parts, tokens, tmp_path / "model")
    assert torch.equal(pretrained.load(tmp_path / "model")[0](ids), model(ids))
    theirs = pretrained.to_huggingface(parts)
    torch.testing.assert_close(theirs(ids).logits, model(ids), atol=1e-5, rtol=0)


class Scored(torch.nn.Module):
    """A GPT with a loss of another kind around it: no wrapper that is known."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def loss(self, inputs, targets):
        return self.inner.loss(inputs, targets)


def test_what_is_no_gpt_is_not_saved(model, tokens, tmp_path):
    said = r"a GPT of lmlab.models is needed, got a {}.*pass the GPT inside"
    theirs = pretrained.to_huggingface(model)
    for other in (Scored(model), theirs, torch.nn.Linear(2, 2)):
        name = type(other).__name__
        with pytest.raises(TypeError, match=said.format(name)):
            pretrained.save(other, tokens, tmp_path / "model")
        with pytest.raises(TypeError, match=said.format(name)):
            pretrained.to_huggingface(other)
        with pytest.raises(TypeError, match=said.format(name)):
            generate(other, [1, 2], 3)
    assert not (tmp_path / "model").exists()


def test_a_gpt_with_other_parts_is_not_saved(model, tokens, tmp_path):
    other = copy.deepcopy(model)
    other.blocks[0].mlp.up = torch.nn.Sequential(other.blocks[0].mlp.up)
    with pytest.raises(WeightsError, match=r"blocks\.0\.mlp\.up\.0\.weight"):
        pretrained.save(other, tokens, tmp_path / "model")
    with pytest.raises(WeightsError, match=r"blocks\.0\.mlp\.up\.0\.weight"):
        pretrained.to_huggingface(other)
    assert not (tmp_path / "model").exists()


def test_layers_that_share_their_weights_are_saved(model, tokens, ids, tmp_path):
    shared = GPT(model.config).eval()
    shared.blocks[2].mlp.up.weight = shared.blocks[0].mlp.up.weight
    shared.blocks[1].attention.qkv.weight.data = shared.blocks[0].attention.qkv.weight
    shared.blocks[1].mlp_norm.bias.data = shared.final_norm.weight.data.detach()
    pretrained.save(shared, tokens, tmp_path / "model")
    again, _ = pretrained.load(tmp_path / "model")
    assert torch.equal(again(ids), shared(ids))


# --- Rows to spare --------------------------------------------------------------------


@pytest.fixture
def spare(tokens, tmp_path):
    """A folder whose model has more rows than its tokenizer ids, and likes the rest."""
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=tokens.vocab_size, n_positions=32, n_layer=1, n_head=2,
                   n_embd=16, bos_token_id=None, eos_token_id=None)
    )  # fmt: skip
    theirs.resize_token_embeddings(tokens.vocab_size, pad_to_multiple_of=64)
    with torch.no_grad():
        theirs.transformer.wte.weight[tokens.vocab_size :] *= 30
    tokens.save(tmp_path / "spare")
    theirs.save_pretrained(tmp_path / "spare")
    return tmp_path / "spare"


def test_rows_to_spare_are_not_loaded(spare, tokens):
    whole = pretrained.load_model(spare)
    assert whole.config.vocab_size == 320
    model, same = pretrained.load(spare)
    assert model.config.vocab_size == same.vocab_size == tokens.vocab_size
    assert not model.training
    ids = torch.arange(20)[None]
    torch.testing.assert_close(model(ids), whole(ids)[..., : tokens.vocab_size])
    for options in ({}, {"num_beams": 3}, {"temperature": 2.0, "num_sequences": 20}):
        for written in generate(model, [5, 6], 20, **options):
            tokens.decode(written)


def test_rows_to_spare_are_not_saved(spare, tokens, tmp_path):
    whole, out = pretrained.load_model(spare), tmp_path / "out"
    pretrained.save(whole, tokens, out)
    assert len(AutoTokenizer.from_pretrained(out)) == tokens.vocab_size
    theirs, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    assert theirs.config.vocab_size == tokens.vocab_size
    ids = torch.arange(20)[None]
    expected = whole(ids)[..., : tokens.vocab_size]
    torch.testing.assert_close(theirs(ids).logits, expected, atol=1e-5, rtol=0)
    assert whole.config.vocab_size == 320  # it was not changed itself


# --- Texts are UTF-8 whatever the system says -----------------------------------------

READ_AND_WRITE = """
import sys
from lmlab.models import pretrained
model, tokens = pretrained.load(sys.argv[1])
card = open(sys.argv[3], "rb").read().decode()
pretrained.save(model, tokens, sys.argv[2], card)
"""


def test_a_system_that_knows_ascii_alone(folder, tmp_path):
    rewrite(folder, config=lambda values: values.update(_name_or_path="模型"))
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(values, ensure_ascii=False)
    (folder / "config.json").write_text(text, encoding="utf-8")
    card, out = tmp_path / "card.md", tmp_path / "out"
    card.write_text("# 模型\n", encoding="utf-8")
    plain = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_WRITE, folder, out, card],
        env=os.environ | plain, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "README.md").read_text(encoding="utf-8") == "# 模型\n"
    (folder / "config.json").write_bytes(text.encode("gbk"))
    with pytest.raises(WeightsError, match=r"config\.json is not UTF-8"):
        pretrained.load(folder)


# --- Lesson 06's Transformer ----------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_transformer_comes_back_as_it_was(tied, tmp_path):
    torch.manual_seed(3)
    options = {"num_encoder_layers": 1, "num_decoder_layers": 2, "rotary": True}
    ours = Transformer(11, 16, 2, tied=tied, max_length=20, **options).eval()
    with torch.no_grad():
        for p in ours.parameters():  # what float16 can hold
            p.copy_(p.half())
    pretrained.save_transformer(ours, tmp_path / "it", "# A card\n")
    again = pretrained.load_transformer(tmp_path / "it")
    source, target = torch.randint(1, 11, (2, 3, 7))
    assert torch.equal(again(source, target), ours(source, target))
    assert not again.training
    assert again.output.weight.dtype == torch.float32
    assert (again.output.weight is again.source.weight) == tied
    assert again.config == ours.config
    stored = safetensors.torch.load_file(tmp_path / "it" / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert (tmp_path / "it" / "README.md").read_text(encoding="utf-8") == "# A card\n"


def test_weights_of_another_transformer_are_refused(tmp_path):
    pretrained.save_transformer(Transformer(11, 16, 2), tmp_path, "")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for other in ({"width": 32}, {"tied": False}, {"num_decoder_layers": 1}):
        text = json.dumps(config | other)
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(WeightsError, match=r"not those of its config\.json"):
            pretrained.load_transformer(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        pretrained.load_transformer(tmp_path / "nowhere")
