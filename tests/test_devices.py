"""Devices, precision, seeds and timing; the GPU's part runs where there is one."""

import collections
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from lmlab import devices, threads

CUDA = torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _no_wishes(monkeypatch):
    monkeypatch.delenv("LMLAB_DEVICE", raising=False)


def fake_cuda(monkeypatch, capability=(9, 0), name="a GPU"):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)


def fake_mps(monkeypatch, there=True):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)


def test_cuda_comes_before_mps_and_mps_before_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fake_mps(monkeypatch, there=False)
    assert devices.choose_device()[0] == "cpu"
    fake_mps(monkeypatch)
    assert devices.choose_device() == ("mps", "Apple's Metal")
    fake_cuda(monkeypatch)
    assert devices.choose_device() == ("cuda", "a GPU")


def test_lmlab_device_decides_for_auto_but_not_over_a_parameter(monkeypatch):
    fake_cuda(monkeypatch)
    monkeypatch.setenv("LMLAB_DEVICE", "cpu")
    assert devices.choose_device() == ("cpu", "asked for by LMLAB_DEVICE")
    assert devices.choose_device("cuda")[0] == "cuda"


def test_a_hidden_gpu_is_respected():
    code = "from lmlab import devices; print(*devices.choose_device(), sep=': ')"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.check_output([sys.executable, "-c", code], text=True, env=env)
    assert out == "cpu: CUDA_VISIBLE_DEVICES hides the GPU\n"


@pytest.mark.parametrize("where", ["parameter", "environment"])
def test_a_device_that_does_not_exist_is_an_error(monkeypatch, where):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if where == "environment":
        monkeypatch.setenv("LMLAB_DEVICE", "gpu")
        with pytest.raises(ValueError, match="LMLAB_DEVICE must be one of auto, cuda"):
            devices.choose_device()
    else:
        with pytest.raises(ValueError, match=r"'cuda', asked for by .* there is cpu"):
            devices.choose_device("cuda")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((9, 0), "bfloat16"),
        ((8, 0), "bfloat16"),
        ((7, 5), "float16"),
        ((6, 1), "float32"),
    ],
)
def test_precision_follows_the_gpu(monkeypatch, capability, precision):
    fake_cuda(monkeypatch, capability)
    assert devices.choose_precision("auto", "cuda")[0] == precision


def test_precision_on_a_cpu_is_float32_unless_asked():
    assert devices.choose_precision()[0] == "float32"
    assert devices.choose_precision("bfloat16")[0] == "bfloat16"
    with pytest.raises(ValueError, match="float16 on a CPU"):
        devices.choose_precision("float16", "cpu")
    with pytest.raises(ValueError, match=r"precision must be one of .* got 'fp8'"):
        devices.choose_precision("fp8")


def test_start_shows_what_was_chosen_and_why(capsys):
    machine = devices.start(7, device="cpu")
    shown = capsys.readouterr().out
    assert shown.startswith("device     cpu: asked for by the lesson's parameter\n")
    assert "seed       7" in shown
    assert machine.precision == "float32"
    assert machine.threads >= 1


def test_autocast_computes_in_the_chosen_precision():
    x = torch.ones(2, 3)
    with devices.start(0, device="cpu", precision="bfloat16").autocast():
        assert (x @ x.T).dtype == torch.bfloat16
    with devices.start(0, device="cpu").autocast():
        assert (x @ x.T).dtype == torch.float32


def draws():
    tf = devices.tensorflow()
    return (
        random.random(),
        float(np.random.rand()),  # noqa: NPY002 (the global generator is the point)
        float(torch.rand(())),
        float(tf.random.uniform(())),
    )


def test_one_call_seeds_python_numpy_torch_and_tensorflow():
    devices.tensorflow()
    devices.seed_everything(3)
    first = draws()
    devices.seed_everything(3)
    assert draws() == first
    devices.seed_everything(4)
    assert all(a != b for a, b in zip(draws(), first))


def test_tensorflow_imported_after_seeding_is_seeded_too():
    code = (
        "from lmlab import devices; devices.seed_everything({}); "
        "print(float(devices.tensorflow().random.uniform(())))"
    )
    outs = [
        subprocess.check_output([sys.executable, "-c", code.format(seed)], text=True)
        for seed in (5, 5, 6)
    ]
    assert outs[0] == outs[1] != outs[2]


@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_a_seed_is_an_int(seed):
    with pytest.raises(TypeError, match="seed must be a whole number"):
        devices.seed_everything(seed)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_is_in_range(seed):
    with pytest.raises(ValueError, match="from 0 to 4294967295, got"):
        devices.seed_everything(seed)


def test_tensorflow_is_silent_and_off_the_gpu():
    code = (
        "from lmlab import devices; tf = devices.tensorflow(); tf.ones(3) + 1; "
        "assert tf.config.get_visible_devices('GPU') == []; "
        "import sys; print('still here', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == "still here\n"


HOSTILE = {
    "KERAS_BACKEND": "torch",
    "KERAS_MAX_EPOCHS": "1",
    "TF_USE_LEGACY_KERAS": "1",
}
CHECK_KERAS = """
from lmlab import devices
tf = devices.tensorflow()
import keras
assert keras.backend.backend() == "tensorflow"
assert keras.config.floatx() == "float32", keras.config.floatx()
assert keras.config.epsilon() == 1e-7
assert keras.config.image_data_format() == "channels_last"
assert keras.config.max_epochs() is None
assert tf.keras.__version__ == keras.__version__
"""


def test_keras_has_its_defaults_whatever_the_reader_has_set(tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(
        '{"backend": "torch", "floatx": "float64", "epsilon": 0.1,'
        ' "image_data_format": "channels_first"}'
    )
    env = os.environ | HOSTILE | {"HOME": str(tmp_path)}
    run = [sys.executable, "-c", CHECK_KERAS]
    done = subprocess.run(run, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_keras_on_another_backend_is_refused(monkeypatch):
    devices.tensorflow()
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match=r"backend torch: restart the kernel"):
        devices.tensorflow()


def test_nested_tensors_move_and_the_rest_is_kept():
    Batch = collections.namedtuple("Batch", "x y")
    batch = {"a": [torch.ones(2), 3], "b": Batch(torch.ones(1), ("text", None))}
    moved = devices.to_device(batch, "meta")
    assert moved["a"][0].device.type == "meta"
    assert moved["a"][1] == 3
    assert isinstance(moved["b"], Batch)
    assert moved["b"].x.device.type == "meta"
    assert moved["b"].y == ("text", None)
    assert batch["a"][0].device.type == "cpu"


def test_a_mapping_of_its_own_kind_is_moved_and_kept():
    lists = collections.defaultdict(list, a=torch.ones(2))
    moved = devices.to_device(lists, "meta")
    assert moved["a"].device.type == "meta"
    assert moved["new"] == []
    assert lists["a"].device.type == "cpu"
    counts = collections.Counter(a=2)
    assert devices.to_device(counts, "meta") == counts


def test_the_timer_measures_seconds():
    import time

    with devices.timer() as t:
        time.sleep(0.02)
    assert t.seconds >= 0.02


def test_the_timer_waits_for_the_device(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(1))
    with devices.timer("cuda:0"):
        assert len(waited) == 1
    assert len(waited) == 2


def test_start_can_limit_the_threads():
    code = (
        "from lmlab import devices; import numpy, torch, threadpoolctl; "
        "machine = devices.start(0, device='cpu', threads=1); "
        "import scipy.linalg; "
        "print(machine.threads, torch.get_num_threads(), "
        "{pool['num_threads'] for pool in threadpoolctl.threadpool_info()})"
    )
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    out = subprocess.check_output([sys.executable, "-c", code], text=True, env=env)
    assert out.splitlines()[-1] == "1 1 {1}"


def test_a_limit_outlives_what_the_environment_says(monkeypatch):
    monkeypatch.setattr(threads, "_limit", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.thread_count() == 3
    monkeypatch.setattr(threads, "_limit", 2)
    assert threads.thread_count() == 2
    monkeypatch.setattr(threads, "_limit", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert 1 <= threads.thread_count() <= os.cpu_count()


@pytest.mark.parametrize("number", [0, -1, 1.0, True, "2"])
def test_threads_are_counted_from_one(number):
    with pytest.raises((ValueError, TypeError), match=r"threads must be .* from 1"):
        threads.limit_threads(number)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="no CUDA GPU on this machine")
def test_a_gpu_is_chosen_and_timed():
    machine = devices.start(0)
    assert machine.device == "cuda"
    x = torch.randn(2048, 2048, device="cuda")
    with devices.timer("cuda") as t, machine.autocast():
        y = x @ x
    assert t.seconds > 0
    assert y.device.type == "cuda"


def test_triton_is_loaded_before_tensorflow_where_it_is_installed(tmp_path):
    (tmp_path / "triton.py").write_text(
        "import sys\nassert 'tensorflow' not in sys.modules\nprint('first')",
        encoding="utf-8",
    )
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from lmlab import devices
devices.tensorflow()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "first\n", done.stderr
