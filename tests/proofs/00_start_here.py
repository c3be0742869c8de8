"""What people get wrong in the exercises of lesson 00, and what each is told."""

from proofs import Answer

ANSWERS = [
    # 1: measure accuracy
    Answer(
        "accuracy",
        "a count",
        test="accuracy-few",
        says="that is how many are right",
        code="""
        def accuracy(P, y):
            return (P.argmax(axis=1) == y).sum()
        """,
    ),
    Answer(
        "accuracy",
        "a percentage",
        test="accuracy-few",
        says="that is a percentage",
        code="""
        def accuracy(P, y):
            return 100 * (P.argmax(axis=1) == y).mean()
        """,
    ),
    Answer(
        "accuracy",
        "the share of mistakes",
        test="accuracy-few",
        says="the share of the mistakes",
        code="""
        def accuracy(P, y):
            return (P.argmax(axis=1) != y).mean()
        """,
    ),
    Answer(
        "accuracy",
        "along the pictures",
        test="accuracy-few",
        says="look along its ten digits",
        code="""
        def accuracy(P, y):
            return (P.argmax(axis=0) == y).mean()
        """,
    ),
    Answer(
        "accuracy",
        "each answer, not the share",
        test="accuracy-few",
        says="got array(",
        code="""
        def accuracy(P, y):
            return P.argmax(axis=1) == y
        """,
    ),
    Answer(
        "accuracy",
        "only where the model is sure",
        test="accuracy-unsure",
        says="also where it is below ½",
        code="""
        def accuracy(P, y):
            return (P[np.arange(len(y)), y] > 0.5).mean()
        """,
    ),
    Answer(
        "accuracy",
        "the expected number",
        short_cut=True,
        test="accuracy-unsure",
        says="got 0.75",
        code="""
        def accuracy(P, y):
            return 0.75
        """,
    ),
    # 2: from columns to rows
    Answer(
        "layer",
        "not transposed",
        test="layer-rectangular",
        says="in a product, the sizes that meet are equal",
        code="""
        def layer(X, W, b):
            return X @ W + b
        """,
    ),
    Answer(
        "layer",
        "reshaped",
        test="layer-rectangular",
        says="a reshape keeps the order",
        code="""
        def layer(X, W, b):
            return X @ W.reshape(W.shape[::-1]) + b
        """,
    ),
    Answer(
        "layer",
        "no bias",
        test="layer-rectangular",
        says="is b added?",
        code="""
        def layer(X, W, b):
            return X @ W.T
        """,
    ),
    Answer(
        "layer",
        "still in columns",
        test="layer-rectangular",
        says="the examples are its columns",
        code="""
        def layer(X, W, b):
            return W @ X.T + b[:, None]
        """,
    ),
    Answer(
        "layer",
        "turns W itself round",
        test="layer-rectangular",
        says="work on another array",
        code="""
        def layer(X, W, b):
            Z = X @ W.T + b
            W.shape = W.shape[::-1]
            return Z
        """,
    ),
    Answer(
        "layer",
        "turned only where the shapes ask for it",
        test="layer-square",
        says="needs a row of W, and got a column",
        code="""
        def layer(X, W, b):
            return X @ (W if len(W) == X.shape[1] else W.T) + b
        """,
    ),
    Answer(
        "layer",
        "a loop",
        short_cut=True,
        test="layer-no-loop",
        says="there is a comprehension",
        code="""
        def layer(X, W, b):
            return np.stack([W @ a + b for a in X])
        """,
    ),
    Answer(
        "layer",
        "a loop in a helper",
        short_cut=True,
        test="layer-no-loop",
        says="there is a for loop in all_rows",
        code="""
        def all_rows(X, W, b):
            Z = np.empty((len(X), len(W)))
            for n, a in enumerate(X):
                Z[n] = W @ a + b
            return Z


        def layer(X, W, b):
            return all_rows(X, W, b)
        """,
    ),
    Answer(
        "layer",
        "a hidden loop",
        short_cut=True,
        test="layer-no-loop",
        says="apply_along_axis, which hides one",
        code="""
        def layer(X, W, b):
            return np.apply_along_axis(lambda a: W @ a + b, 1, X)
        """,
    ),
    # 3: one step of learning
    Answer(
        "predict",
        "white pixels teach",
        test="predict-changed",
        says="a white pixel is 0",
        code="""
        def predict():
            return 8, [1, 1, 0, 0], "smaller"
        """,
    ),
    Answer(
        "predict",
        "the bar learns nothing from a dash",
        test="predict-changed",
        says="are its weights left alone?",
        code="""
        def predict():
            return 2, [1, 1, 0, 0], "smaller"
        """,
    ),
    Answer(
        "predict",
        "uphill",
        test="predict-dash",
        says="which way does the step go?",
        code="""
        def predict():
            return 4, [-1, -1, 0, 0], "smaller"
        """,
    ),
    Answer(
        "predict",
        "the whole learning rate",
        test="predict-dash",
        says="how far is the dash's probability from the truth?",
        code="""
        def predict():
            return 4, [2, 2, 0, 0], "smaller"
        """,
    ),
    Answer(
        "predict",
        "no learning rate",
        test="predict-dash",
        says="the learning rate is 2",
        code="""
        def predict():
            return 4, [0.5, 0.5, 0, 0], "smaller"
        """,
    ),
    Answer(
        "predict",
        "the lower weights fall",
        test="predict-dash",
        says="the lower pixels are white",
        code="""
        def predict():
            return 4, [1, 1, -1, -1], "smaller"
        """,
    ),
    Answer(
        "predict",
        "every step is the same",
        test="predict-second",
        says="after the first step, and its error?",
        code="""
        def predict():
            return 4, [1, 1, 0, 0], "equal"
        """,
    ),
    Answer(
        "predict",
        "another word",
        test="predict-second",
        says="got 'less'",
        code="""
        def predict():
            return 4, [1, 1, 0, 0], "less"
        """,
    ),
    Answer(
        "predict",
        "left empty",
        test="predict-changed",
        says="num_changed is filled in",
        code="""
        def predict():
            num_changed = dash = second = None
            return num_changed, dash, second
        """,
    ),
    Answer(
        "predict",
        "lets the code run first",
        short_cut=True,
        test="predict-changed",
        says="come from your pencil",
        code="""
        def predict():
            W = step(np.zeros((4, 2)), np.array([1, 1, 0, 0]), np.array([0, 1]), 2)
            return (W != 0).sum(), W[:, 1].tolist(), "smaller"
        """,
    ),
    # 4: it reads only in company
    Answer(
        "train",
        "as it was",
        test="train-alone",
        says="from all the new pictures together?",
        code="""
        def train(pictures, labels):
            return train_broken(pictures, labels)
        """,
    ),
    Answer(
        "train",
        "scores in the place of a function",
        test="train-alone",
        says="train returns a function",
        code="""
        def train(pictures, labels):
            centre = rows(pictures).mean(axis=0)
            W, b = fit(rows(pictures) - centre, labels)
            return (rows(pictures) - centre) @ W + b
        """,
    ),
    Answer(
        "train",
        "one prepared, the other not",
        test="train-reads",
        says="exactly as the training pictures were",
        code="""
        def train(pictures, labels):
            X = rows(pictures)
            W, b = fit(X - X.mean(axis=0), labels)
            return lambda new: rows(new) @ W + b
        """,
    ),
    Answer(
        "train",
        "nothing is centred",
        test="train-reads",
        says="the training pictures are no longer centred",
        code="""
        def train(pictures, labels):
            W, b = fit(rows(pictures), labels)
            return lambda new: rows(new) @ W + b
        """,
    ),
    Answer(
        "train",
        "answers instead of scores",
        test="train-alone",
        says="ten scores for each picture",
        code="""
        def train(pictures, labels):
            centre = rows(pictures).mean(axis=0)
            W, b = fit(rows(pictures) - centre, labels)
            return lambda new: ((rows(new) - centre) @ W + b).argmax(axis=1)
        """,
    ),
    Answer(
        "train",
        "each picture has a mean of its own",
        test="train-reads",
        says="exactly as the training pictures were",
        code="""
        def train(pictures, labels):
            centre = rows(pictures).mean(axis=0)
            W, b = fit(rows(pictures) - centre, labels)

            def scores(new):
                X = rows(new)
                return (X - X.mean(axis=1, keepdims=True)) @ W + b

            return scores
        """,
    ),
    Answer(
        "train",
        "special care for one picture",
        short_cut=True,
        test="train-alone",
        says="from all the new pictures together?",
        code="""
        def train(pictures, labels):
            X = rows(pictures)
            W, b = fit(X - X.mean(axis=0), labels)

            def scores(new):
                centre = X.mean(axis=0) if len(new) == 1 else rows(new).mean(axis=0)
                return (rows(new) - centre) @ W + b

            return scores
        """,
    ),
    Answer(
        "train",
        "the centre of the exam",
        short_cut=True,
        test="train-reads",
        says="the centre comes from the exam",
        code="""
        def train(pictures, labels):
            X = rows(pictures)
            W, b = fit(X - X.mean(axis=0), labels)
            centre = rows(images.X_test).mean(axis=0)
            return lambda new: (rows(new) - centre) @ W + b
        """,
    ),
    # 5: a check that catches broken versions
    Answer(
        "check-split",
        "sizes only",
        test="check-split-shown",
        says="the training labels are in another order",
        code="""
        def check_split(split):
            X_train, y_train, X_test, y_test = split(np.arange(20), np.arange(20), 6)
            checks.equal("training examples", len(X_train), 14)
            checks.equal("exam", len(X_test), 6)
        """,
    ),
    Answer(
        "check-split",
        "labels of the training pile only",
        test="check-split-other",
        says="the exam's labels are in another order",
        code="""
        def check_split(split):
            X = np.arange(20)
            X_train, y_train, X_test, y_test = split(X, 10 * X, 6)
            checks.equal("exam", len(X_test), 6)
            everything = np.sort(np.concatenate([X_train, X_test]))
            checks.equal("every example once", everything, X)
            checks.equal("labels", y_train, 10 * X_train)
        """,
    ),
    Answer(
        "check-split",
        "no size",
        test="check-split-other",
        says="nothing is put aside",
        code="""
        def check_split(split):
            X = np.arange(20)
            X_train, y_train, X_test, y_test = split(X, 10 * X, 6)
            everything = np.sort(np.concatenate([X_train, X_test]))
            checks.equal("every example once", everything, X)
            checks.equal("labels", y_train, 10 * X_train)
            checks.equal("labels of the exam", y_test, 10 * X_test)
        """,
    ),
    Answer(
        "check-split",
        "no size but that something is there",
        test="check-split-other",
        says="the exam is larger than num_test",
        code="""
        def check_split(split):
            X = np.arange(20)
            X_train, y_train, X_test, y_test = split(X, 10 * X, 6)
            everything = np.sort(np.concatenate([X_train, X_test]))
            checks.holds("an exam", 0 < len(X_test) < len(X_train))
            checks.equal("every example once", everything, X)
            checks.equal("labels", y_train, 10 * X_train)
            checks.equal("labels of the exam", y_test, 10 * X_test)
        """,
    ),
    Answer(
        "check-split",
        "sets forget what comes twice",
        test="check-split-shown",
        says="the exam's examples are trained on, too",
        code="""
        def check_split(split):
            X = np.arange(20)
            X_train, y_train, X_test, y_test = split(X, 10 * X, 6)
            checks.equal("exam", len(X_test), 6)
            checks.holds("all are there", {*X_train, *X_test} == {*X})
            checks.equal("labels", y_train, 10 * X_train)
            checks.equal("labels of the exam", y_test, 10 * X_test)
        """,
    ),
    Answer(
        "check-split",
        "numbers in the place of examples",
        test="check-split-shown",
        says="it crashed: ",
        code="""
        def check_split(split):
            X_train, y_train, X_test, y_test = split(20, 10, 6)
            checks.equal("exam", len(X_test), 6)
        """,
    ),
    Answer(
        "check-split",
        "one permutation",
        test="check-split-shown",
        says="it refuses a correct version: the last are the exam",
        code="""
        def check_split(split):
            X = np.arange(20)
            X_train, y_train, X_test, y_test = split(X, 10 * X, 6)
            order = np.random.default_rng(0).permutation(20)
            checks.equal("exam", X_test, order[:6])
            checks.equal("training", X_train, order[6:])
            checks.equal("labels", y_train, 10 * X_train)
            checks.equal("labels of the exam", y_test, 10 * X_test)
        """,
    ),
    Answer(
        "check-split",
        "empty",
        short_cut=True,
        test="check-split-shown",
        says="the exam's examples are trained on, too",
        code="""
        def check_split(split):
            pass
        """,
    ),
    Answer(
        "check-split",
        "knows the broken ones by name",
        short_cut=True,
        test="check-split-other",
        says="nothing is put aside",
        code="""
        def check_split(split):
            known = ("leaks", "loses_one", "mixes_labels")
            checks.holds("not one of these", split.__name__ not in known)
        """,
    ),
    Answer(
        "check-split",
        "compares with the one that is given",
        short_cut=True,
        test="check-split-shown",
        says="it refuses a correct version: the last are the exam",
        code="""
        given = split


        def check_split(split):
            X = np.arange(20)
            for ours, theirs in zip(given(X, 10 * X, 6), split(X, 10 * X, 6)):
                checks.equal("the same", ours, theirs)
        """,
    ),
]
