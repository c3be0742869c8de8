import re

import numpy as np
import pytest
from scipy import ndimage

from lmlab import checks
from lmlab.data import augment

RNG = np.random.default_rng(7)
IMAGES = RNG.random((3, 9, 12))  # every dimension different, nothing symmetric
CORNERS = {"mode": "grid-constant", "cval": 0.0, "order": 1}  # bilinear, 0 outside


def generator(seed=0):
    return np.random.default_rng(seed)


def scipy_warp(images, rows, columns):
    places = [np.broadcast_to(p, images.shape) for p in (rows, columns)]
    return np.stack(
        [
            ndimage.map_coordinates(image, [r, c], **CORNERS)
            for image, r, c in zip(images, *places)
        ]
    )


def scipy_affine(image, *, height=1, width=1, shear=0, degrees=0, down=0, right=0):
    """The forward map as the docstrings say it, inverted by numpy."""
    turn = np.radians(degrees)
    # (rows, columns), rows down: a point y above and x right is (−y, x)
    rotation = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix = np.array(rotation) @ [[1, 0], [-shear, 1]] @ np.diag([height, width])
    centre = (np.array(image.shape) - 1) / 2
    inverse = np.linalg.inv(matrix)
    offset = centre - inverse @ (centre + np.array([down, right]))
    return ndimage.affine_transform(image, inverse, offset, **CORNERS)


def check_warp(warp):
    rows = RNG.uniform(-3, 12, IMAGES.shape)
    columns = RNG.uniform(-3, 15, IMAGES.shape)
    expected = scipy_warp(IMAGES, rows, columns)
    checks.close("equals SciPy", warp(IMAGES, rows, columns), expected, atol=1e-12)


def test_warp_equals_scipy():
    check_warp(augment.warp)


def test_warp_broadcasts_its_places():
    rows, columns = np.arange(9)[:, None] - 0.25, np.arange(12) + 1
    expected = scipy_warp(IMAGES, rows, columns)
    np.testing.assert_allclose(
        augment.warp(IMAGES, rows, columns), expected, atol=1e-12
    )


def test_warp_far_outside_is_zero():
    for dtype in (np.float32, np.float64):
        images = IMAGES.astype(dtype)
        for far in (-1.0, 9.0, 1e9, -1e300, 1e300):
            assert not augment.warp(images, far, np.arange(12) + 0.5).any()
        for far in (-1.0, 12.0, 1e9, -1e300, 1e300):
            assert not augment.warp(images, np.arange(9)[:, None], far).any()
        assert augment.warp(images, 8.99, 11.99).all()  # a little is still inside


def test_the_check_of_warp_can_fail():
    warp = augment.warp
    broken = {
        "rows and columns exchanged": lambda x, r, c: warp(x, c, r),
        "nearest pixel": lambda x, r, c: warp(x, np.rint(r), np.rint(c)),
        "the border repeated": lambda x, r, c: warp(x, r.clip(0, 8), c.clip(0, 11)),
        "wrapped around": lambda x, r, c: warp(x, r % 9, c % 12),
        "one image for all": lambda x, r, c: warp(x[[0, 0, 0]], r, c),
        "one place for all": lambda x, r, c: warp(x, r[0], c[0]),
        "half a pixel off": lambda x, r, c: warp(x, r - 0.5, c - 0.5),
    }
    checks.catches(check_warp, broken, correct=warp)


AFFINE = {
    "height": [0.8, 1.0, 1.3],
    "width": [1.2, 0.7, 1.0],
    "shear": [0.2, -0.3, 0.1],
    "degrees": [25.0, -10.0, 130.0],
    "down": [1.5, 0.0, -2.25],
    "right": [-1.0, 3.5, 0.5],
}


def check_affine(affine):
    for names in [[name] for name in AFFINE] + [list(AFFINE)]:
        values = {name: AFFINE[name] for name in names}
        each = [{name: values[name][n] for name in names} for n in range(3)]
        expected = [scipy_affine(image, **one) for image, one in zip(IMAGES, each)]
        ours = affine(IMAGES, **{name: np.array(v) for name, v in values.items()})
        checks.close(" ".join(names), ours, np.stack(expected), atol=1e-10)


def test_affine_equals_scipy():
    check_affine(augment.affine)


def test_the_check_of_affine_can_fail():
    def negated(name):
        def broken(images, **values):
            if name in values:
                values[name] = -values[name]
            return augment.affine(images, **values)

        return broken

    def inverse(images, **values):
        for name in {"height", "width"} & set(values):
            values[name] = 1 / values[name]
        return augment.affine(images, **values)

    def transposed(images, **values):
        turned = augment.affine(images.transpose(0, 2, 1), **values)
        return turned.transpose(0, 2, 1)

    def in_steps(images, **values):
        for name, value in values.items():
            images = augment.affine(images, **{name: value})
        return images

    broken = {f"{name} negated": negated(name) for name in list(AFFINE)[2:]}
    broken |= {"shrinks": inverse, "transposed": transposed, "four blurs": in_steps}
    checks.catches(check_affine, broken, correct=augment.affine)


def test_shift_moves_down_and_right():
    moved = augment.shift(IMAGES, 2, 3)
    np.testing.assert_array_equal(moved[:, 2:, 3:], IMAGES[:, :-2, :-3])
    assert not moved[:, :2].any()
    assert not moved[:, :, :3].any()
    half = augment.shift(IMAGES, np.array([0.5, 0, -1.25]), np.array([0, -2.75, 1]))
    expected = [
        ndimage.shift(image, by, **CORNERS)
        for image, by in zip(IMAGES, [(0.5, 0), (0, -2.75), (-1.25, 1)])
    ]
    np.testing.assert_allclose(half, np.stack(expected), atol=1e-12)


def test_rotate_is_counter_clockwise():
    square = IMAGES[:, :, :9]
    quarter = augment.rotate(square, 90)
    expected = np.rot90(
        square, axes=(1, 2)
    )  # rot90 turns the first axis to the second:
    np.testing.assert_allclose(quarter, expected, atol=1e-12)  # as seen, to the left
    top_right = np.zeros((1, 5, 5))
    top_right[0, 0, 4] = 1
    assert augment.rotate(top_right, 90)[0, 0, 0] == pytest.approx(1)  # now top left
    turned = ndimage.rotate(IMAGES, 25, axes=(2, 1), reshape=False, **CORNERS)
    np.testing.assert_allclose(augment.rotate(IMAGES, 25), turned, atol=1e-12)


def test_shear_leans_like_italics():
    bar = np.zeros((1, 9, 9))
    bar[0, :, 4] = 1
    leaning = augment.affine(bar, shear=0.5)[0].argmax(axis=1)
    assert list(leaning[[0, 4, 8]]) == [6, 4, 2]


def by_hand(images, rng, *, alpha, sigma, scale=0, shear=0, degrees=0, shift=0):
    """What distort says it does, from its docstring, with SciPy."""
    N, H, W = images.shape
    limits = np.array([scale, scale, shear, degrees, shift, shift])
    drawn = rng.uniform(-1, 1, (N, 6)) * limits if limits.any() else np.zeros((N, 6))
    result = []
    for image, (tall, wide, lean, turn, down, right), noise in zip(
        images, drawn, 2 * rng.random((N, 2, H, W), dtype=np.float32) - 1.0
    ):
        matrix = (
            np.array(
                [
                    [np.cos(np.radians(turn)), -np.sin(np.radians(turn))],
                    [np.sin(np.radians(turn)), np.cos(np.radians(turn))],
                ]
            )
            @ [[1, 0], [-lean, 1]]
            @ np.diag([1 + tall, 1 + wide])
        )
        centre = (np.array([H, W]) - 1) / 2
        grid = np.stack(np.mgrid[:H, :W], axis=-1) - centre - [down, right]
        places = (grid @ np.linalg.inv(matrix).T + centre).transpose(2, 0, 1)
        for axis in (0, 1):
            places[axis] += alpha * ndimage.gaussian_filter(
                noise[axis].astype(np.float64), sigma, mode="constant", truncate=4.0
            )
        result.append(ndimage.map_coordinates(image, places, **CORNERS))
    return np.stack(result)


EVERYTHING = {"scale": 0.2, "shear": 0.3, "degrees": 20, "shift": 2.5}


def check_elastic(elastic):
    for alpha, sigma in ((34.0, 4.0), (8.0, 1.3)):
        ours = elastic(IMAGES, generator(3), alpha=alpha, sigma=sigma)
        expected = by_hand(IMAGES, generator(3), alpha=alpha, sigma=sigma)
        checks.close(f"elastic {alpha:g}, {sigma:g}", ours, expected, atol=1e-10)


def test_elastic_is_simards():
    check_elastic(augment.elastic)


def test_the_check_of_elastic_can_fail():
    def from_noise(change):
        class Changed(np.random.Generator):
            def random(self, size, dtype):
                return change(super().random(size, dtype=dtype))

        def broken(images, rng, **options):
            return augment.elastic(images, Changed(rng.bit_generator), **options)

        return broken

    def other(**changed):
        def broken(images, rng, **options):
            options = {n: change(options[n]) for n, change in changed.items()} | {
                n: value for n, value in options.items() if n not in changed
            }
            return augment.elastic(images, rng, **options)

        return broken

    broken = {
        "the axes exchanged": from_noise(lambda noise: noise[:, ::-1]),
        "one field for all": from_noise(lambda noise: noise[[0] * len(noise)]),
        "the same for both axes": from_noise(lambda noise: noise[:, [0, 0]]),
        "noise from [0, 1)": from_noise(lambda noise: (noise + 1) / 2),
        "moved the other way": from_noise(lambda noise: 1 - noise),
        "twice the strength": other(alpha=lambda alpha: 2 * alpha),
        "sigma for its square": other(sigma=lambda sigma: sigma**0.5),
        "not blurred": other(sigma=lambda sigma: 0.1),
    }
    checks.catches(check_elastic, broken, correct=augment.elastic)


def test_distort_is_affine_and_elastic_in_one():
    options = EVERYTHING | {"alpha": 20.0, "sigma": 2.0}
    ours = augment.distort(IMAGES, generator(5), **options)
    expected = by_hand(IMAGES, generator(5), **options)
    np.testing.assert_allclose(ours, expected, atol=1e-10)
    only_affine = augment.distort(IMAGES, generator(5), **EVERYTHING)
    expected = by_hand(IMAGES, generator(5), **EVERYTHING, alpha=0, sigma=1)
    np.testing.assert_allclose(only_affine, expected, atol=1e-10)


def test_distort_draws_both_ways_and_no_farther():
    grid = np.zeros((2000, 9, 9))
    grid[:, 4, 4] = 1
    moved = augment.distort(grid, generator(), shift=2.0)
    rows, columns = np.mgrid[:9, :9] - 4
    for places in (rows, columns):
        where = (moved * places).sum(axis=(1, 2))  # bilinear keeps the centre of mass
        assert -2 <= where.min() < -1.9
        assert 1.9 < where.max() <= 2
        assert abs(where.mean()) < 0.12


def test_elastic_moves_as_far_as_it_says():
    seen = []

    class Watched(np.random.Generator):
        def random(self, size, dtype):
            seen.append(super().random(size, dtype=dtype))
            return seen[-1]

    columns = np.tile(np.arange(60.0), (200, 60, 1))  # value = column: reads tell where
    read = augment.elastic(columns, Watched(np.random.PCG64(1)), alpha=34, sigma=4)
    displacement = (read - columns)[:, 20:40, 20:40]
    assert displacement.std() == pytest.approx(0.163 * 34 / 4, rel=0.05)
    assert sum(map(len, seen)) == 200


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_strength_is_the_identity(dtype):
    images = IMAGES.astype(dtype)
    same = [
        augment.affine(images),
        augment.shift(images, 0, 0),
        augment.rotate(images, 0),
        augment.elastic(images, generator(), alpha=0),
        augment.distort(images, generator()),
    ]
    for result in same:
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, images)
        assert not np.shares_memory(result, images)


def test_float32_agrees_with_float64():
    options = EVERYTHING | {"alpha": 20.0, "sigma": 2.0}
    exact = augment.distort(IMAGES, generator(5), **options)
    single = augment.distort(IMAGES.astype(np.float32), generator(5), **options)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, atol=2e-5)


def test_seeds_reproduce_whatever_the_chunk(monkeypatch):
    options = EVERYTHING | {"alpha": 20.0, "sigma": 2.0}
    images = generator(1).random((7, 9, 12))
    first = augment.distort(images, generator(5), **options)
    again = augment.distort(images, generator(5), **options)
    np.testing.assert_array_equal(first, again)  # the same call twice
    assert np.abs(first - augment.distort(images, generator(6), **options)).max() > 0.1
    for chunk in (2 * 9 * 12, 1):
        monkeypatch.setattr(augment, "CHUNK", chunk)
        again = augment.distort(images, generator(5), **options)
        # Products of other shapes may add up in another order: places of up to 20
        # pixels, from 9 + 12 terms each, in float64.
        np.testing.assert_allclose(again, first, rtol=0, atol=20 * 21 * 2**-52)


def test_the_images_are_left_alone_and_may_be_views():
    images = generator(1).random((7, 12, 9)).transpose(0, 2, 1)[::2]
    images.flags.writeable = False
    options = EVERYTHING | {"alpha": 20.0}
    expected = augment.distort(images.copy(), generator(5), **options)
    np.testing.assert_array_equal(
        augment.distort(images, generator(5), **options), expected
    )
    none = augment.distort(images[:0], generator(5), **options)
    assert none.shape == (0, 9, 12)


def test_bad_input_is_refused():
    x, rng = IMAGES, generator()
    bad = {
        "images: shape": lambda: augment.shift(x[0], 1, 1),
        "images: float32": lambda: augment.rotate((x * 255).astype(np.uint8), 5),
        "images: float32 or": lambda: augment.rotate(x.astype(np.float16), 5),
        "images: shape (N": lambda: augment.shift(np.zeros((2, 0, 3)), 1, 1),
        "rows: a shape": lambda: augment.warp(x, np.zeros((2, 9, 12)), 0),
        "columns: finite": lambda: augment.warp(x, 0, np.nan),
        "rows: numbers": lambda: augment.warp(x, None, 0),
        "down: a number or shape": lambda: augment.shift(x, np.zeros(4), 0),
        "right: finite": lambda: augment.shift(x, 0, np.inf),
        "degrees: numbers": lambda: augment.rotate(x, "left"),
        "height: factors": lambda: augment.affine(x, height=0),
        "width: factors": lambda: augment.affine(x, width=[1, 1, -1]),
        "alpha must be a number in [0, 1000000), got -1": lambda: augment.elastic(
            x, rng, alpha=-1
        ),
        "alpha must be a number in [0, 1000000), got nan": lambda: augment.elastic(
            x, rng, alpha=np.nan
        ),
        "sigma must be a number in (0": lambda: augment.elastic(x, rng, sigma=0),
        "rng: a numpy Generator": lambda: augment.elastic(x, 0),
        "shift must be a number in [0": lambda: augment.distort(x, rng, shift=-1),
        "degrees must be a number in [0": lambda: augment.distort(x, rng, degrees=True),
        "scale must be a number in [0, 0.99]": lambda: augment.distort(
            x, rng, scale=1.0
        ),
        "shear must be a number": lambda: augment.distort(x, rng, shear=None),
    }
    for start, call in bad.items():
        with pytest.raises((TypeError, ValueError), match=f"^{re.escape(start)}"):
            call()
