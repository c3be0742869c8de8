"""Training on several processes: what `torchrun` starts, and what they say to another.

Every process (a rank · 进程编号) holds the whole model and sees the same global batch,
of which it works on its share. Gradients are sums over tokens divided by the number of
tokens of the *global* batch, so adding them up over the ranks gives the gradient of the
whole batch, however the tokens are spread.
"""

import atexit
import os
import sys
from dataclasses import dataclass

import torch
import torch.distributed as dist

BUCKET = 2**23  # numbers sent at a time: large enough for the network, small in memory


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; `Ranks()` is a process alone."""

    rank: int = 0
    size: int = 1

    @property
    def first(self):
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def share(self, rows, what="batch_size"):
        """The slice of so many rows that this rank works on.

        Raises ValueError when the rows cannot be shared out evenly.
        """
        if rows % self.size:
            raise ValueError(
                f"{what} must be a multiple of the number of processes: "
                f"{rows} rows cannot be shared evenly among {self.size}"
            )
        each = rows // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def all_reduce(self, tensors):
        """Replace each tensor by its sum over all ranks, in place."""
        if self.size == 1:
            return
        sent = []
        for bucket in _buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
        for bucket, flat, work in sent:
            work.wait()
            parts = flat.split([t.numel() for t in bucket])
            for tensor, part in zip(bucket, parts):
                tensor.copy_(part.view_as(tensor))

    def all_gather(self, value):
        """A list of what each rank passes here, rank 0's first."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def broadcast(self, tensors):
        """Replace each tensor by rank 0's, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


ALONE = Ranks()


def join(device="cpu"):
    """(Ranks, device) of this process: alone, unless `torchrun` started it.

    Under torchrun the processes meet once (gloo on a CPU, NCCL on GPUs), part at exit,
    and "cuda" becomes the GPU of this process.
    Raises ValueError when there are fewer GPUs than processes.
    """
    device = torch.device(device)
    if not dist.is_initialized() and not dist.is_torchelastic_launched():
        return ALONE, device
    if device.type == "cuda" and device.index is None:
        device = _own_gpu()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_part)
    return Ranks(dist.get_rank(), dist.get_world_size()), device


def _own_gpu():
    index, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if index >= there:
        raise ValueError(
            f"--nproc_per_node: process {index} has no GPU of its own, there are "
            f"{there}; start no more processes than GPUs"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _part():
    if dist.is_initialized():
        dist.destroy_process_group()


def leave():
    """End this process, whose work is done, with exit code 0; alone: do nothing.

    Without the tear-down of C++ objects: once in some twenty runs it ended a rank of
    gloo with SIGABRT after everything had been written ("terminate called without an
    active exception"), and torchrun called the whole run failed.
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _buckets(tensors):
    """The tensors in groups of about BUCKET numbers."""
    bucket, size = [], 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket
