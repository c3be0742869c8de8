"""What the commands of `lmlab` do, a file for each of them, and what these share.

runs, sweeps, compare, notebooks, doctor: the commands. `lmlab start` is in lessons, and
`lmlab fetch` asks `lmlab.data` and `lmlab.models`.

A run, from the command line to its page: lessons (which notebooks there are),
profiles (the values for each), terminal (what is said meanwhile), executor (many at a
time), execute (one, with papermill, and its time limit), kernels and kernel_sets (the
kernel that it runs in), records (what is kept, and read again), pages (HTML and CSV).
A sweep's table, page and plots are in sweep_page, its TensorBoard files in hparams;
syllabus has the map of the course.
"""
