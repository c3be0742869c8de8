"""Shift, rotate and bend images: the fast form of what lesson 04 derives.

Every distortion here is one idea: pixel (i, j) of the new image takes the value that
the old image has at some other place (row, column). The place is seldom a whole pixel,
so its four neighbours are mixed by how near they are (bilinear interpolation); outside
the image lies 0, the background. `warp` does that for any places; the others only say
where the places are. (Asking for each old pixel where it goes would leave holes.)

Lengths are in pixels, rows count downwards, and the centre is (H − 1)/2, (W − 1)/2.
"""

import numpy as np

from lmlab.arguments import number, require

CHUNK = 65_536  # pixels worked on at a time, so that they stay in the cache


def warp(images, rows, columns):
    """Read each image at other places; derived in lesson 04.

    images (N, H, W) float; rows, columns (N, H, W), or what broadcasts to it: pixel
    (n, i, j) of the result is image n at (rows[n, i, j], columns[n, i, j]), bilinear,
    with 0 outside. Returns (N, H, W) of the images' dtype.
    Raises ValueError when shapes do not fit or a place is not finite.
    """
    images, places = _images(images), []
    for name, places_of in (("rows", rows), ("columns", columns)):
        array = _array(name, places_of)
        try:
            array = np.broadcast_to(array, images.shape)
        except ValueError:
            require(False, name, f"a shape that fits {images.shape}", array.shape)
        places.append(array)
    return _warp(images, lambda part: (places[0][part], places[1][part]))


def shift(images, down, right):
    """Move the picture by so many pixels; what comes in from outside is 0.

    images (N, H, W) float; down and right are numbers or (N,), fractions and negative
    numbers too: pixel (i, j) is read at (i − down, j − right).
    Raises ValueError when the shapes do not fit or a number is not finite.
    """
    return affine(images, down=down, right=right)


def rotate(images, degrees):
    """Turn the picture about its centre, counter-clockwise as you look at it.

    images (N, H, W) float; degrees a number or (N,). A pixel y above and x right of the
    centre is read at y cos θ − x sin θ above and x cos θ + y sin θ right of it.
    Raises ValueError when the shapes do not fit or a number is not finite.
    """
    return affine(images, degrees=degrees)


def affine(images, *, height=1, width=1, shear=0, degrees=0, down=0, right=0):
    """Scale, shear, rotate and shift, in this order, with one interpolation.

    images (N, H, W) float; each argument a number or (N,), one for each image. height
    and width are factors ≥ 0.01 about the centre; shear leans the picture like italics:
    what lies h above the centre moves shear × h to the right. See rotate and shift.
    Raises ValueError when the shapes do not fit or a number is not finite.
    """
    images = _images(images)
    maps = _inverse(images, height, width, shear, degrees, down, right)
    return _warp(images, lambda part: _affine_places(images, maps, part))


def elastic(images, rng, *, alpha=34.0, sigma=4.0):
    """Bend each image in its own random way (Simard et al. 2003, section 2).

    images (N, H, W) float. Noise from [−1, 1), (N, 2, H, W) float32 drawn by
    rng.random, is blurred over H and W by a Gaussian of standard deviation sigma (cut
    at 4 sigma, 0 outside the image) and multiplied by alpha: the displacement. Pixel
    (i, j) is read at (i + displacement[n, 0, i, j], j + displacement[n, 1, i, j]).
    Where the blur has no border to lose noise at, displacements have a standard
    deviation of about 0.163 alpha / sigma: 1.4 pixels for 34 and 4.
    Raises ValueError unless alpha ≥ 0, sigma > 0 and rng is a numpy Generator;
    TypeError for what is no number.
    """
    return distort(images, rng, alpha=alpha, sigma=sigma)


def distort(
    images, rng, *,
    shift=0.0, degrees=0.0, scale=0.0, shear=0.0, alpha=0.0, sigma=4.0,
):  # fmt: skip
    """Distort each image at random: affine and elastic, with one interpolation.

    images (N, H, W) float. Each image's down and right are uniform in ± shift, its
    degrees and shear in ± theirs, its height and width in 1 ± scale; then elastic's
    displacement is added to the places where affine reads. What is 0 is left out.
    Draws from rng: (N, 6) float64 for height, width, shear, degrees, down, right, if
    any of them is asked for; then elastic's noise if alpha > 0.
    Raises ValueError unless all are ≥ 0, scale ≤ 0.99, sigma > 0 and rng is a numpy
    Generator; TypeError for what is no number.
    """
    images = _images(images)
    limits = {"scale": scale, "shear": shear, "degrees": degrees, "shift": shift}
    for name, value in (limits | {"alpha": alpha}).items():
        number(name, value, "[0, 0.99]" if name == "scale" else "[0, 1000000)")
    number("sigma", sigma, "(0, 1000000)")
    known = isinstance(rng, np.random.Generator)
    require(known, "rng", "a numpy Generator (np.random.default_rng(0))", rng)

    numbers = np.array([1, 1, 0, 0, 0, 0])  # _inverse's: the image as it is
    if any(limits.values()):
        most = (scale, scale, shear, degrees, shift, shift)
        numbers = numbers + rng.uniform(-1, 1, (len(images), 6)) * most
    maps = _inverse(images, *numbers.T)
    if not alpha:
        return _warp(images, lambda part: _affine_places(images, maps, part))
    blurs = [_blur(size, sigma).astype(images.dtype) for size in images.shape[1:]]
    blurs[0] *= alpha

    def places(part):
        rows, columns = _affine_places(images, maps, part)
        field = _field(rng, rows.shape, *blurs)
        rows += field[:, 0]
        columns += field[:, 1]
        return rows, columns

    return _warp(images, places)


def _inverse(images, height, width, shear, degrees, down, right):
    """Where affine reads, as maps (N, 2, 3): place = map @ (i, j, 1)."""
    N, H, W = images.shape
    numbers = {
        "height": height, "width": width, "shear": shear,
        "degrees": degrees, "down": down, "right": right,
    }  # fmt: skip
    for name, value in numbers.items():
        array = _array(name, value)
        fits = array.shape in ((), (N,))
        require(
            fits, name, f"a number or shape ({N},), one for each image,", array.shape
        )
        numbers[name] = np.broadcast_to(array.astype(np.float64), (N,))
    height, width, shear, degrees, down, right = numbers.values()
    for name in ("height", "width"):
        least = numbers[name].min(initial=1)
        require(least >= 0.01, name, "factors ≥ 0.01", float(least))

    # The picture's point p, from the centre, goes to R K S p + t. Reading at place q
    # undoes it: S⁻¹ K⁻¹ R⁻¹ (q − t), each inverse written down, not computed.
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    row = np.stack([cos, sin], axis=1)  # R⁻¹, (N, 2) each: R turns (rows, columns)
    column = np.stack([-sin, cos], axis=1)
    column = (column + shear[:, None] * row) / width[:, None]
    matrix = np.stack([row / height[:, None], column], axis=1)  # (N, 2, 2)
    centre = np.array([(H - 1) / 2, (W - 1) / 2])
    moved = centre + np.stack([down, right], axis=1)
    offset = centre - np.einsum("nij,nj->ni", matrix, moved)
    return np.concatenate([matrix, offset[:, :, None]], axis=2)


def _affine_places(images, maps, part):
    """Rows and columns (n, H, W) at which the images of a slice are read."""
    i, j = (np.arange(size, dtype=images.dtype) for size in images.shape[1:])
    maps = maps[part].astype(images.dtype)[:, :, :, None, None]
    down, right, offset = maps[:, :, 0], maps[:, :, 1], maps[:, :, 2]  # (n, 2, 1, 1)
    places = (down * i[:, None] + offset) + right * j
    return places[:, 0], places[:, 1]


def _blur(size, sigma):
    """A Gaussian blur of a line of pixels with 0 around it, as (size, size)."""
    radius = int(4 * sigma + 0.5)
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    weights = np.exp(-0.5 * (distance / sigma) ** 2) / line.sum()
    return np.where(distance <= radius, weights, 0)


def _field(rng, shape, blur_rows, blur_columns):
    """Blurred noise (n, 2, H, W): a matrix product along each of the two axes."""
    n, H, W = shape
    noise = rng.random((n, 2, H, W), dtype=np.float32)
    noise *= 2
    noise -= 1
    noise = noise.astype(blur_rows.dtype, copy=False)
    noise = (noise.reshape(-1, W) @ blur_columns).reshape(n, 2, H, W)  # symmetric
    return np.matmul(blur_rows, noise)


def _warp(images, places):
    """Bilinear reading, some images at a time; places(slice) says where."""
    N, H, W = images.shape
    result, step = np.empty_like(images), max(1, CHUNK // (H * W))
    # One row and column of 0 before the image, two after it: a place is moved to the
    # nearest that is within them, where all it can mix is 0.
    padded = np.zeros((min(step, N), H + 3, W + 3), images.dtype)
    starts = np.arange(len(padded))[:, None, None] * ((H + 3) * (W + 3))
    for start in range(0, N, step):
        part = slice(start, min(start + step, N))
        n = part.stop - start
        padded[:n, 1 : H + 1, 1 : W + 1] = images[part]
        rows, columns = places(part)
        i, below = _split(rows, H + 1, images.dtype)
        j, beside = _split(columns, W + 1, images.dtype)
        i *= W + 3
        i += j
        i += starts[:n]
        top = _mix(padded.ravel(), i, beside)
        bottom = _mix(padded.ravel()[W + 3 :], i, beside)
        bottom -= top
        bottom *= below
        np.add(top, bottom, out=result[part])
    return result


def _split(places, most, dtype):
    """Places in the padded image as a whole pixel and the fraction beyond it."""
    places = np.clip(places, -1, most - 1).astype(dtype, copy=False)
    places += 1
    whole = np.floor(places)
    places -= whole
    return whole.astype(np.intp), places


def _mix(pixels, i, share):
    """(1 − share) pixels[i] + share pixels[i + 1]; exact where the share is 0."""
    left = np.take(pixels, i, mode="clip")
    right = np.take(pixels[1:], i, mode="clip")
    right -= left
    right *= share
    left += right
    return left


def _images(images):
    images = np.asarray(images)
    fits = images.ndim == 3 and min(images.shape[1:]) > 0
    require(fits, "images", "shape (N, H, W)", images.shape)
    known = images.dtype in (np.float32, np.float64)
    require(known, "images", "float32 or float64 (pixels: X / 255)", images.dtype.name)
    return images


def _array(name, value):
    array = np.asarray(value)
    require(array.dtype.kind in "iuf", name, "numbers", array.dtype.name)
    require(np.isfinite(array).all(), name, "finite numbers", "nan or inf")
    return array
