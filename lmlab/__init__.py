"""lmlab: the GPU helpers, data, checks and fast forms that the lessons share.

Importing the package is cheap on purpose: each module imports torch,
TensorFlow or scikit-learn inside the functions that need them.
"""

__version__ = "0.1.0"
