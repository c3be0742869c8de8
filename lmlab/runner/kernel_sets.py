"""Kernel sets: compute as another processor would, by variables alone.

Each library picks, when it is loaded, the kernels (SSE, AVX2, AVX-512, …) that suit
the processor. They add the same numbers up in another order, so that the last digits
of a float32 sum differ from machine to machine, and after a training more than those.
What a lesson claims, and every output that the tests compare, must not depend on it.

    make test KERNELS=reduced        # the tests, on the kernels of an old processor
    python -m lmlab.runner.kernel_sets reduced      # prints the variables

The variables are read when a library is loaded: they must be there before.
"""

import os
import sys

# What each of them changes: torch's (and MKL's) matrix products; torch's vectorised
# functions and its normal random numbers; oneDNN's; NumPy's matrix products; NumPy's
# exp, tanh and log; TensorFlow's.
SETS = {
    "own": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",
        # TensorFlow asks the processor what it can do, and would want bfloat16 of a
        # oneDNN that may not: it ends in a segmentation fault.
        "TF_ENABLE_ONEDNN_OPTS": "0",
    },
    "reduced": {
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4,AVX512_ICL,AVX512_SPR",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    },
}
VARIABLES = tuple(SETS["reduced"])


def in_force(environment=None):
    """The set whose variables the environment holds: its name, or "mixed"."""
    environment = os.environ if environment is None else environment
    there = {name: environment[name] for name in VARIABLES if environment.get(name)}
    return next((name for name, each in SETS.items() if each == there), "mixed")


def main(arguments):
    """Print a set's variables as `env` takes them; exits with 2 for no such set."""
    if len(arguments) != 1 or arguments[0] not in SETS:
        print(f"KERNELS must be one of {', '.join(SETS)}", file=sys.stderr)
        return 2
    print(*(f"{name}={value}" for name, value in SETS[arguments[0]].items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
