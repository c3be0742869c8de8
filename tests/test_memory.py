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
def test_running_out_of_memory_says_which_parameters_to_lower(error):
    values = {"seed": 3, "batch_size": 512, "lr": 0.1, "fast": True, "width": 64}
    said = memory.hint(type(error).__name__, str(error), values)
    assert "not enough memory" in said
    assert "(batch_size (now 512), width (now 64))" in said
    assert "batch_size" in memory.hint(type(error).__name__, str(error))


@pytest.mark.parametrize("allocate", [np.ones, torch.ones])
def test_a_real_allocation_that_cannot_be_had(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate(2**50)
    assert memory.hint(caught.type.__name__, str(caught.value))


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), RuntimeError("shapes do not fit")]
)
def test_other_errors_get_no_such_advice(error):
    assert memory.hint(type(error).__name__, str(error)) == ""


def test_an_error_in_a_notebook_ends_with_what_to_do():
    import nbformat
    from nbclient import NotebookClient

    new = nbformat.v4
    sources = (
        "from lmlab import devices\n_ = devices.start(0, device='cpu')",
        "raise MemoryError('it was too large')",
        "raise RuntimeError('shapes do not fit')",
    )
    notebook = new.new_notebook(cells=[new.new_code_cell(x) for x in sources])
    options = {"kernel_name": "python3", "timeout": 120, "allow_errors": True}
    NotebookClient(notebook, **options).execute()
    too_large, others = (cell.outputs[-1] for cell in notebook.cells[1:])
    assert (too_large.ename, too_large.evalue) == ("MemoryError", "it was too large")
    assert "There was not enough memory. Lower" in "\n".join(too_large.traceback)
    assert (others.ename, others.evalue) == ("RuntimeError", "shapes do not fit")
    assert "memory" not in "\n".join(others.traceback)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
def test_peak_memory_on_a_gpu():
    with memory.peak_memory("cuda") as peak:
        x = torch.ones(64 * MIB, dtype=torch.uint8, device="cuda")
        del x
    assert 64 <= peak.mib <= 66
    with pytest.raises(torch.cuda.OutOfMemoryError) as caught:
        torch.ones(2**50, device="cuda")
    assert memory.hint(caught.type.__name__, str(caught.value))
