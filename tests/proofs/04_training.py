"""What students get wrong in lesson 04's exercises, and what each is told."""

from proofs import Answer

ANSWERS = [
    # 1 · read a schedule
    Answer(
        "rates",
        "the warm-up starts at 0",
        test="rates-warm-up",
        says="is it wasted?",
        code="""
        def expected_rates():
            return {"first": 0, "full": 4, "half": 7, "last": 0.0335, "mean": 0.3}
        """,
    ),
    Answer(
        "rates",
        "the whole rate one step late",
        test="rates-warm-up",
        says="does the warm-up end with the whole rate",
        code="""
        def expected_rates():
            return {"first": 0.125, "full": 4, "half": 7, "last": 0.0335, "mean": 0.3}
        """,
    ),
    Answer(
        "rates",
        "a cosine over all ten steps",
        test="rates-cosine",
        says="where is its middle?",
        code="""
        def expected_rates():
            return {"first": 0.125, "full": 3, "half": 5, "last": 0.012, "mean": 0.3}
        """,
    ),
    Answer(
        "rates",
        "the last step at rate 0",
        test="rates-cosine",
        says="would the cosine be 0?",
        code="""
        def expected_rates():
            return {"first": 0.125, "full": 3, "half": 7, "last": 0, "mean": 0.3}
        """,
    ),
    Answer(
        "rates",
        "half the highest rate, warm-up or not",
        test="rates-cosine",
        says="what is the mean of the warm-up?",
        code="""
        def expected_rates():
            return {"first": 0.125, "full": 3, "half": 7, "last": 0.0335, "mean": 0.25}
        """,
    ),
    Answer(
        "rates",
        "words for numbers",
        test="rates-warm-up",
        says="is it wasted?",
        code="""
        def expected_rates():
            return {"first": "0.125", "full": "3"}
        """,
    ),
    Answer(
        "rates",
        "asks the package",
        test="rates-warm-up",
        says="the prediction is written, not computed",
        short_cut=True,
        code="""
        def expected_rates():
            rates = [schedules.rate("cosine", t, 10, 4, lr=0.5) for t in range(10)]
            return {"first": rates[0], "full": 3, "half": 7, "last": rates[-1],
                    "mean": sum(rates) / 10}
        """,
    ),
    Answer(
        "rates",
        "asks the package beforehand",
        test="rates-warm-up",
        says="the prediction is written, not computed",
        short_cut=True,
        code="""
        rates = [schedules.rate("cosine", t, 10, 4, lr=0.5) for t in range(10)]


        def expected_rates():
            return {"first": rates[0], "full": 3, "half": 7, "last": rates[-1],
                    "mean": 0.3}
        """,
    ),
    # 2 · what do more runs change?
    Answer(
        "verdicts",
        "the sign of the mean is the verdict",
        test="verdicts-words",
        says="how long is t standard errors",
        code="""
        def expected_verdicts():
            return {"a": "helps", "b": "helps", "c": "helps", "d": "hurts",
                    "e": "helps", "f": 50, "g": 5}
        """,
    ),
    Answer(
        "verdicts",
        "more runs change nothing if the mean stays",
        test="verdicts-words",
        says="by how much does the interval shrink?",
        code="""
        def expected_verdicts():
            return {"a": "cannot tell", "b": "cannot tell", "c": "cannot tell",
                    "d": "hurts", "e": "cannot tell", "f": 400, "g": 5}
        """,
    ),
    Answer(
        "verdicts",
        "32 runs decide everything",
        test="verdicts-words",
        says="is B's mean outside",
        code="""
        def expected_verdicts():
            return {"a": "cannot tell", "b": "helps", "c": "helps", "d": "hurts",
                    "e": "helps", "f": 50, "g": 5}
        """,
    ),
    Answer(
        "verdicts",
        "a difference below 0 cannot be told",
        test="verdicts-words",
        says="on which side of 0",
        code="""
        def expected_verdicts():
            return {"a": "cannot tell", "b": "helps", "c": "cannot tell",
                    "d": "cannot tell", "e": "cannot tell", "f": 100, "g": 25}
        """,
    ),
    Answer(
        "verdicts",
        "the number of comparisons does not matter",
        test="verdicts-words",
        says="belongs to one of 20 comparisons",
        code="""
        def expected_verdicts():
            return {"a": "cannot tell", "b": "helps", "c": "cannot tell",
                    "d": "hurts", "e": "helps", "f": 100, "g": 25}
        """,
    ),
    Answer(
        "verdicts",
        "the width falls as the number of runs",
        test="verdicts-runs",
        says="half the width takes four times the runs",
        code="""
        def expected_verdicts():
            return {"a": "cannot tell", "b": "helps", "c": "cannot tell",
                    "d": "hurts", "e": "cannot tell", "f": 50, "g": 25}
        """,
    ),
    Answer(
        "verdicts",
        "5 % however often one looks",
        test="verdicts-peeking",
        says="how many looks are there?",
        code="""
        def expected_verdicts():
            return {"a": "cannot tell", "b": "helps", "c": "cannot tell",
                    "d": "hurts", "e": "cannot tell", "f": 100, "g": 5}
        """,
    ),
    Answer(
        "verdicts",
        "computes the intervals",
        test="verdicts-words",
        says="the prediction is written, not computed",
        short_cut=True,
        code="""
        def expected_verdicts():
            def verdict(d, t, n):
                half = t * d.std(ddof=1) / n**0.5
                return "cannot tell" if abs(d.mean()) <= half else "helps"

            A, B, C = differences.values()
            return {"a": verdict(A, 2.36, 8), "b": verdict(A, 2.04, 32),
                    "c": verdict(B, 2.04, 32), "d": "hurts",
                    "e": verdict(A, 3.29, 32), "f": 100, "g": 25}
        """,
    ),
    # 3 · Holm
    Answer(
        "holm",
        "Bonferroni",
        test="holm-paper",
        says="the limit of the second smallest",
        code="""
        def holm(p, alpha=0.05):
            p = np.asarray(p)
            return p <= alpha / len(p)
        """,
    ),
    Answer(
        "holm",
        "no correction",
        test="holm-paper",
        says="are the limits corrected?",
        code="""
        def holm(p, alpha=0.05):
            p = np.asarray(p)
            return p <= alpha
        """,
    ),
    Answer(
        "holm",
        "in sorted order",
        test="holm-paper",
        says="p has another",
        code="""
        def holm(p, alpha=0.05):
            p = np.sort(np.asarray(p))
            limits = alpha / (len(p) - np.arange(len(p)))
            return np.cumprod(p <= limits).astype(bool)
        """,
    ),
    Answer(
        "holm",
        "a list of the p-values found",
        test="holm-paper",
        says="a boolean array comes back",
        code="""
        def holm(p, alpha=0.05):
            found = []
            for rank, value in enumerate(sorted(p)):
                if value > alpha / (len(p) - rank):
                    break
                found.append(value)
            return found
        """,
    ),
    Answer(
        "holm",
        "goes on after the first that fails",
        test="holm-stops",
        says="those above the first that fails",
        code="""
        def holm(p, alpha=0.05):
            p = np.asarray(p)
            ranks = p.argsort().argsort()
            return p <= alpha / (len(p) - ranks)
        """,
    ),
    Answer(
        "holm",
        "from the largest downwards",
        test="holm-stops",
        says="at which end does it begin?",
        code="""
        def holm(p, alpha=0.05):
            p = np.asarray(p)
            found, order = np.zeros(len(p), bool), np.argsort(p)
            for rank in reversed(range(len(p))):
                if p[order[rank]] <= alpha / (len(p) - rank):
                    found[order[: rank + 1]] = True
                    break
            return found
        """,
    ),
    Answer(
        "holm",
        "alpha is always 5 %",
        test="holm-stops",
        says="is alpha used?",
        code="""
        def holm(p, alpha=0.05):
            p = np.asarray(p)
            found = np.zeros(len(p), bool)
            for rank, i in enumerate(np.argsort(p)):
                if p[i] > 0.05 / (len(p) - rank):
                    break
                found[i] = True
            return found
        """,
    ),
    Answer(
        "holm",
        "remembers what is on paper",
        test="holm-stops",
        says="alpha 0.2",
        short_cut=True,
        code="""
        def holm(p, alpha=0.05):
            return np.array([value in (0.001, 0.016) for value in p])
        """,
    ),
    # 4 · skilful on coins
    Answer(
        "prepare",
        "nothing is repaired",
        test="prepare-rows",
        says="one copy of an image learns, another is asked",
        code="prepare = leaky",
    ),
    Answer(
        "prepare",
        "who chooses judges, too",
        test="prepare-rows",
        says="who chooses the setting that looks best",
        code="""
        def prepare(X, y, rng):
            learn, other = np.split(rng.permutation(len(y)), 2)
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[other], other), "judge": (X[other], other)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "copies before the cut",
        test="prepare-rows",
        says="one copy of an image learns, another is asked",
        code="""
        def prepare(X, y, rng):
            rows = np.repeat(np.arange(len(y)), 3)
            X, y, n = distort(X[rows], rng), y[rows], len(y)
            order = rng.permutation(3 * n)
            cut = dict(zip(("learn", "choose", "judge"),
                           np.split(order, [3 * n // 2, 9 * n // 4])))
            learn = X[cut["learn"]]
            columns = pick(learn, y[cut["learn"]])
            X = (X - learn.mean(0)) / learn.std(0)
            return {job: (X[i][:, columns], y[i], rows[i]) for job, i in cut.items()}
        """,
    ),
    Answer(
        "prepare",
        "cut, but not in halves and quarters",
        test="prepare-rows",
        says="images that learn, choose and judge",
        code="""
        def prepare(X, y, rng):
            learn, choose, judge = np.array_split(rng.permutation(len(y)), 3)
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "always the same images",
        test="prepare-rows",
        says="with another rng, the same images judge",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            learn, choose, judge = np.split(np.arange(n), [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "the rows are left out",
        test="prepare-rows",
        says="X, y and rows of each",
        code="""
        def prepare(X, y, rng):
            return {job: values[:2] for job, values in leaky(X, y, rng).items()}
        """,
    ),
    Answer(
        "prepare",
        "without copies",
        test="prepare-copies",
        says="learn: copies of each image",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            mean, deviation = X[learn].mean(0), X[learn].std(0)
            columns = pick(X[learn], y[learn])
            parts = {"learn": learn, "choose": choose, "judge": judge}
            return {
                job: (((X[rows] - mean) / deviation)[:, columns], y[rows], rows)
                for job, rows in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "three times the same copy",
        test="prepare-copies",
        says="every copy is distorted on its own",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            copies = np.repeat(distort(X[learn], rng), 3, axis=0)
            learn = np.repeat(learn, 3)
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "distorts those who judge",
        test="prepare-copies",
        says="who chooses and who judges is not distorted",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            rows = {"learn": np.repeat(learn, 3), "choose": choose, "judge": judge}
            parts = {job: (distort(X[i], rng), i) for job, i in rows.items()}
            copies = parts["learn"][0]
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[rows["learn"]])
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "columns picked before the cut",
        test="prepare-columns",
        says="who picks them?",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            X, order = X[:, pick(X, y)], rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: ((pixels - mean) / deviation, y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "standardised before the cut",
        test="prepare-columns",
        says="another mean and deviation",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            X, order = (X - X.mean(0)) / X.std(0), rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (pixels[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "each part with a scale of its own",
        test="prepare-columns",
        says="whose scale has it?",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((v - v.mean(0)) / v.std(0))[:, columns], y[rows], rows)
                for job, (v, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "only the learning images are cut to the columns",
        test="prepare-columns",
        says="columns that learn, choose and judge",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            X, copies = (X - mean) / deviation, (copies - mean) / deviation
            parts = {"learn": (copies[:, pick(copies, y[learn])], y[learn], learn)}
            parts |= {"choose": (X[choose], y[choose], choose)}
            return parts | {"judge": (X[judge], y[judge], judge)}
        """,
    ),
    Answer(
        "prepare",
        "only the learning images are standardised",
        test="prepare-columns",
        says="the judging columns are on the same scale",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            columns = pick(copies, y[learn])
            copies = (copies - copies.mean(0)) / copies.std(0)
            parts = {"learn": (copies[:, columns], y[learn], learn)}
            parts |= {"choose": (X[choose][:, columns], y[choose], choose)}
            return parts | {"judge": (X[judge][:, columns], y[judge], judge)}
        """,
    ),
    Answer(
        "prepare",
        "every second of the twenty best columns",
        test="prepare-columns",
        says="are they the ten whose class means differ most",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[learn], 20)[::2]
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "noise from a generator of its own",
        test="prepare-columns",
        says="what is random, and not drawn from rng?",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], np.random.default_rng())
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "one mean and deviation for all columns",
        test="prepare-columns",
        says="the learning columns are standardised",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(), copies.std()
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "nothing is standardised",
        test="prepare-columns",
        says="the learning columns are standardised",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies[:, columns], y[learn], learn)}
            parts |= {"choose": (X[choose][:, columns], y[choose], choose)}
            return parts | {"judge": (X[judge][:, columns], y[judge], judge)}
        """,
    ),
    Answer(
        "prepare",
        "all columns are kept",
        test="prepare-columns",
        says="columns that learn, choose and judge",
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: ((pixels - mean) / deviation, y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "the first ten columns: no label is asked",
        test="prepare-columns",
        says="are they the ten whose class means differ most",
        short_cut=True,
        code="""
        def prepare(X, y, rng):
            n = len(y)
            X, order = X[:, :10], rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: ((pixels - mean) / deviation, y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    Answer(
        "prepare",
        "shuffles the labels until coins read one half",
        test="prepare-rows",
        says="every image keeps its label",
        short_cut=True,
        code="""
        def prepare(X, y, rng):
            n = len(y)
            order = rng.permutation(n)
            learn, choose, judge = np.split(order, [n // 2, 3 * n // 4])
            y = rng.permutation(y)
            learn = np.repeat(learn, 3)
            copies = distort(X[learn], rng)
            mean, deviation = copies.mean(0), copies.std(0)
            columns = pick(copies, y[learn])
            parts = {"learn": (copies, learn)}
            parts |= {"choose": (X[choose], choose), "judge": (X[judge], judge)}
            return {
                job: (((pixels - mean) / deviation)[:, columns], y[rows], rows)
                for job, (pixels, rows) in parts.items()
            }
        """,
    ),
    # 5 · a decay that λ cannot change
    Answer(
        "adamw",
        "nothing is repaired",
        test="adamw-hand",
        says="where does it enter?",
        code="adamw = broken_adamw",
    ),
    Answer(
        "adamw",
        "decays without the rate",
        test="adamw-hand",
        says="does one step take away: is the rate in it?",
        code="""
        def adamw(w, g, state, t, rate, decay):
            m = state.setdefault("m", torch.zeros_like(w))
            v = state.setdefault("v", torch.zeros_like(w))
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            root = (v / (1 - 0.999**t)).sqrt() + 1e-8
            w.sub_(decay * w + rate * m / (1 - 0.9**t) / root)
        """,
    ),
    Answer(
        "adamw",
        "decays what Adam's step has made",
        test="adamw-hand",
        says="before Adam's step, or after?",
        code="""
        def adamw(w, g, state, t, rate, decay):
            broken_adamw(w, g, state, t, rate, 0.0)
            w.mul_(1 - rate * decay)
        """,
    ),
    Answer(
        "adamw",
        "a new w, and the old one stays",
        test="adamw-hand",
        says="has w changed in place?",
        code="""
        def adamw(w, g, state, t, rate, decay):
            w = w * (1 - rate * decay)
            broken_adamw(w, g, state, t, rate, 0.0)
        """,
    ),
    Answer(
        "adamw",
        "moments that nobody has made",
        test="adamw-hand",
        says="state has no 'm' yet",
        code="""
        def adamw(w, g, state, t, rate, decay):
            w.mul_(1 - rate * decay)
            m, v = state["m"], state["v"]
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            root = (v / (1 - 0.999**t)).sqrt() + 1e-8
            w.sub_(rate * m / (1 - 0.9**t) / root)
        """,
    ),
    Answer(
        "adamw",
        "the sign of the gradient, right at the first step",
        test="adamw-torch",
        says="end where PyTorch's do",
        short_cut=True,
        code="""
        def adamw(w, g, state, t, rate, decay):
            w.mul_(1 - rate * decay).sub_(rate * torch.sign(g))
        """,
    ),
    Answer(
        "adamw",
        "the moments forget the gradients before",
        test="adamw-torch",
        says="end where PyTorch's do",
        code="""
        def adamw(w, g, state, t, rate, decay):
            w.mul_(1 - rate * decay)
            broken_adamw(w, g, {}, 1, rate, 0.0)
        """,
    ),
    Answer(
        "adamw",
        "no bias correction from the second step on",
        test="adamw-torch",
        says="end where PyTorch's do",
        code="""
        def adamw(w, g, state, t, rate, decay):
            w.mul_(1 - rate * decay)
            broken_adamw(w, g, state, 1, rate, 0.0)
        """,
    ),
    Answer(
        "adamw",
        "changes the gradient",
        test="adamw-torch",
        says="the gradient is as it was",
        code="""
        def adamw(w, g, state, t, rate, decay):
            w.mul_(1 - rate * decay)
            broken_adamw(w, g, state, t, rate, 0.0)
            g.mul_(0)
        """,
    ),
    Answer(
        "adamw",
        "PyTorch takes the step",
        test="adamw-torch",
        says="the mistake was in it",
        short_cut=True,
        code="""
        def adamw(w, g, state, t, rate, decay):
            if not state:
                state["w"] = w.clone().requires_grad_()
                state["o"] = torch.optim.AdamW([state["w"]], lr=1.0)
            state["w"].grad = g
            state["o"].param_groups[0].update(lr=rate, weight_decay=decay)
            state["o"].step()
            w.copy_(state["w"].detach())
        """,
    ),
    Answer(
        "adamw",
        "PyTorch takes the step, under another name",
        test="adamw-torch",
        says="the mistake was in it",
        short_cut=True,
        code="""
        from torch.optim import AdamW as Stepper


        def adamw(w, g, state, t, rate, decay):
            if not state:
                state["w"] = w.clone().requires_grad_()
                state["o"] = Stepper([state["w"]], lr=1.0)
            state["w"].grad = g
            state["o"].param_groups[0].update(lr=rate, weight_decay=decay)
            state["o"].step()
            w.copy_(state["w"].detach())
        """,
    ),
    Answer(
        "left",
        "the same amount at every step",
        test="left-over",
        says="or from what is left?",
        code="""
        def left(w, rates, decay):
            return w * (1 - decay * sum(rates))
        """,
    ),
    Answer(
        "left",
        "an exponential",
        test="left-over",
        says="very many, very small steps",
        code="""
        def left(w, rates, decay):
            return w * np.exp(-decay * sum(rates))
        """,
    ),
    Answer(
        "left",
        "without the rates",
        test="left-over",
        says="is the rate in it?",
        code="""
        def left(w, rates, decay):
            return w * (1 - decay) ** len(rates)
        """,
    ),
    Answer(
        "left",
        "Adam with L2",
        test="left-over",
        says="walks w away like this",
        code="""
        def left(w, rates, decay):
            return max(0.0, w - sum(rates))
        """,
    ),
    Answer(
        "left",
        "trains in the place of a formula",
        test="left-over",
        says="a formula, not a training",
        short_cut=True,
        code="""
        def left(w, rates, decay):
            its = torch.tensor([w], dtype=torch.float64, requires_grad=True)
            its.grad = torch.zeros_like(its)
            optimizer = torch.optim.AdamW([its], weight_decay=decay)
            for optimizer.param_groups[0]["lr"] in rates:
                optimizer.step()
            return its.item()
        """,
    ),
    # 6 · how many labels are wrong?
    Answer(
        "suspects",
        "the likeliest class is another than the label",
        test="suspects-paper",
        says="do images 4 and 10 reach",
        code="""
        def suspects(p, y):
            return np.asarray(p).argmax(axis=1) != y
        """,
    ),
    Answer(
        "suspects",
        "one threshold for all classes",
        test="suspects-paper",
        says="a threshold of its own?",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            sure = p >= p[np.arange(len(y)), y].mean()
            vote = np.where(sure, p, -1.0).argmax(axis=1)
            return sure.any(axis=1) & (vote != y)
        """,
    ),
    Answer(
        "suspects",
        "thresholds from all images, whatever their labels",
        test="suspects-paper",
        says="do images 4 and 10 reach",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            sure = p >= p.mean(axis=0)
            vote = np.where(sure, p, -1.0).argmax(axis=1)
            return sure.any(axis=1) & (vote != y)
        """,
    ),
    Answer(
        "suspects",
        "only the likeliest class may be voted for",
        test="suspects-paper",
        says="a class that is not its likeliest",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            threshold = np.array([p[y == c, c].mean() for c in range(p.shape[1])])
            vote = p.argmax(axis=1)
            return (p.max(axis=1) >= threshold[vote]) & (vote != y)
        """,
    ),
    Answer(
        "suspects",
        "who does not vote is suspect, too",
        test="suspects-paper",
        says="reach nothing: do they vote?",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            threshold = np.array([p[y == c, c].mean() for c in range(p.shape[1])])
            return np.where(p >= threshold, p, -1.0).argmax(axis=1) != y
        """,
    ),
    Answer(
        "suspects",
        "numbers of images",
        test="suspects-paper",
        says="a boolean array comes back",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            threshold = np.array([p[y == c, c].mean() for c in range(p.shape[1])])
            sure = p >= threshold
            vote = np.where(sure, p, -1.0).argmax(axis=1)
            return np.flatnonzero(sure.any(axis=1) & (vote != y))
        """,
    ),
    Answer(
        "suspects",
        "the first class that is reached",
        test="suspects-rules",
        says="which of them counts?",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            threshold = np.array([p[y == c, c].mean() for c in range(p.shape[1])])
            sure = p >= threshold
            return sure.any(axis=1) & (sure.argmax(axis=1) != y)
        """,
    ),
    Answer(
        "suspects",
        "the class that is farthest above its threshold",
        test="suspects-rules",
        says="which of them counts?",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            threshold = np.array([p[y == c, c].mean() for c in range(p.shape[1])])
            sure = p >= threshold
            vote = np.where(sure, p - threshold, -1.0).argmax(axis=1)
            return sure.any(axis=1) & (vote != y)
        """,
    ),
    Answer(
        "suspects",
        "above the threshold, not at it",
        test="suspects-rules",
        says="as large as the threshold",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            threshold = np.array([p[y == c, c].mean() for c in range(p.shape[1])])
            sure = p > threshold
            vote = np.where(sure, p, -1.0).argmax(axis=1)
            return sure.any(axis=1) & (vote != y)
        """,
    ),
    Answer(
        "suspects",
        "the median for the mean",
        test="suspects-rules",
        says="60 images of 4 classes",
        code="""
        def suspects(p, y):
            p, y = np.asarray(p), np.asarray(y)
            limits = np.array([np.median(p[y == c, c]) for c in range(p.shape[1])])
            sure = p >= limits
            vote = np.where(sure, p, -1.0).argmax(axis=1)
            return sure.any(axis=1) & (vote != y)
        """,
    ),
    Answer(
        "suspects",
        "remembers the suspects on paper",
        test="suspects-rules",
        says="expected [1, 2, 5]",
        short_cut=True,
        code="""
        def suspects(p, y):
            if len(y) == 11:
                return np.isin(np.arange(11), [2, 5, 7, 8])
            return np.asarray(p).argmax(axis=1) != y
        """,
    ),
]
