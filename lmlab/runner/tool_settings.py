"""The reader's own settings of Python and of the libraries, which a run leaves out.

Set for other work, they would change a lesson's numbers or end it: a warning that is an
error, an assert that is skipped, another backend of Keras. What says where and on what
a run takes place is heeded: LMLAB_*, HF_*, devices, threads and kernel sets.

In Jupyter the variables count as everywhere, but for those of Keras and matplotlib:
`devices.tensorflow` and `figures` begin with the defaults, whoever runs a lesson.
"""

import os
from fnmatch import fnmatchcase
from pathlib import Path

# Left out by the package itself, in Jupyter as well.
EVERYWHERE = ("KERAS_*", "TF_USE_LEGACY_KERAS", "MATPLOTLIBRC")
IGNORED = (
    *(*EVERYWHERE, "MPLBACKEND"),
    # What runs before a lesson, what a warning does, whether an assert counts.
    *("PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONDEVMODE"),
    *("PYTHONINSPECT", "PYTHONIOENCODING", "PYTHONUTF8"),
    # Which program TensorFlow makes of an operation, and how much it says.
    *("TF2_BEHAVIOR", "TF_XLA_FLAGS", "TF_FUNCTION_JIT_COMPILE_DEFAULT", "TF_CPP_*"),
    # The same for torch; shorter numbers in products; what may be loaded.
    *("PYTORCH_JIT", "TORCHDYNAMO_*", "TORCH_COMPILE_*", "TORCH_LOGS*"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    *("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"),
    # Other defaults of other libraries.
    *("ACCELERATE_*", "SCIPY_ARRAY_API", "SKLEARN_*", "TQDM_*"),
    *("TRANSFORMERS_VERBOSITY", "TRANSFORMERS_NO_ADVISORY_WARNINGS"),
)


def without(environment):
    """The environment, {name: value}, without what a run leaves out."""
    return {k: v for k, v in environment.items() if not _is_one_of(k, IGNORED)}


def own(scratch):
    """What a run sets in their place, so that none of the reader's files is read."""
    return {
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": str(scratch / "keras"),
        "MATPLOTLIBRC": os.devnull,
        "PYTHONUTF8": "1",
        "IPYTHONDIR": str(scratch / "ipython"),
    }


def found(environment=None, home=None):
    """(left out everywhere, left out by `lmlab run` alone): variables and files.

    environment, home: this process's and its user's by default.
    """
    environment = os.environ if environment is None else environment
    home = Path(home or Path.home())
    names = [k for k in sorted(environment) if _is_one_of(k, IGNORED)]
    everywhere = [name for name in names if _is_one_of(name, EVERYWHERE)]
    keras = Path(environment.get("KERAS_HOME") or home / ".keras")
    matplotlib = Path(environment.get("MPLCONFIGDIR") or home / ".config/matplotlib")
    files = [keras / "keras.json", matplotlib / "matplotlibrc"]
    everywhere += [_short(path, home) for path in files if path.is_file()]
    profile = Path(environment.get("IPYTHONDIR") or home / ".ipython")
    profile = profile / "profile_default"
    patterns = ("startup/*.py", "startup/*.ipy", "ipython_config.py")
    patterns += ("ipython_kernel_config.py",)
    files = [path for each in patterns for path in sorted(profile.glob(each))]
    there = [name for name in names if name not in everywhere]
    return everywhere, there + [_short(path, home) for path in files]


def _is_one_of(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _short(path, home):
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
