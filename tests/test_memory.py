"""Peak memory is what the work took; running out says what to lower."""

import numpy as np
import pytest
import torch

from lmlab import memory

MIB = 2**20


def work(mib):
    np.ones(mib * MIB, dtype=np.uint8).sum()


def test_peak_memory_sees_an_array_that_is_gone_again():
    with memory.peak_memory() as large:
        work(160)
    with memory.peak_memory() as small:  # afterwards: the mark must be set back
        work(8)
    assert 150 <= large.mib <= 260
    assert small.mib < 100


def test_memory_that_was_freed_before_is_counted_when_it_is_used_again():
    ctypes = pytest.importorskip("ctypes")
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this libc has no malloc_trim")

    def blocks():  # small enough to lie in the heap, not in mappings of their own
        return [bytearray(60_000) for _ in range(2000)]

    held = blocks()
    last = bytearray(60_000)  # above them: the heap cannot shrink from its end
    del held
    with memory.peak_memory() as again:
        blocks()
    assert again.mib >= 100
    del last


def test_peak_memory_by_sampling_where_there_is_no_high_water_mark(monkeypatch):
    import time

    monkeypatch.setattr(memory, "_reset_high_water", lambda: False)
    with memory.peak_memory() as peak:
        block = np.ones(120 * MIB, dtype=np.uint8)
        time.sleep(0.5)  # a hundred samples: a busy machine may skip many
        del block
    assert peak.how == "sampled every 5 ms"
    assert 100 <= peak.mib <= 220


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB ...)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_running_out_of_memory_says_which_parameter_to_lower(error):
    with (
        pytest.raises(
            memory.OutOfMemory, match=r"lower batch_size \(now 512\)"
        ) as said,
        memory.memory_hint("batch_size", 512),
    ):
        raise error
    assert "for example to 256" in str(said.value)
    assert said.value.__cause__ is error


def test_a_real_allocation_that_cannot_be_had():
    with (
        pytest.raises(memory.OutOfMemory, match="lower width"),
        memory.memory_hint("width", 2**40),
    ):
        np.ones(2**50)
    with (
        pytest.raises(memory.OutOfMemory, match="lower width"),
        memory.memory_hint("width", 2**40),
    ):
        torch.ones(2**50)


def test_other_errors_pass_unchanged():
    with pytest.raises(ValueError, match="shapes"), memory.memory_hint("batch_size", 1):
        raise ValueError("shapes do not fit")


def test_memory_of_the_machine_and_of_this_process():
    assert 10 < memory.own_memory() < 20_000
    assert memory.free_memory() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
def test_peak_memory_on_a_gpu():
    with memory.peak_memory("cuda") as peak:
        x = torch.ones(64 * MIB, dtype=torch.uint8, device="cuda")
        del x
    assert 64 <= peak.mib <= 66
    with (
        pytest.raises(memory.OutOfMemory, match="lower batch_size"),
        memory.memory_hint("batch_size", 2**40),
    ):
        torch.ones(2**50, device="cuda")
