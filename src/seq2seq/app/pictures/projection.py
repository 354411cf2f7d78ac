"""Vectors in the plane: principal components, or t-SNE (van der Maaten and Hinton 2008)."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.errors import ConfigError, DataError

Method: TypeAlias = Literal["pca", "tsne"]
LEAST_TEXTS = 3
"""Of a map."""
_MOST_NEIGHBOURS = 30.0


def require_method(method: Method) -> None:
    """Refuse t-SNE where scikit-learn is not installed, before anything takes time.

    Raises:
        ConfigError: so it is.
    """
    if method == "tsne":
        try:
            import sklearn  # noqa: F401
        except ImportError:
            raise ConfigError(
                "--method tsne needs scikit-learn, which is not installed: pip install 'seq2seq-jax[plot]'; "
                "--method pca does without."
            ) from None


def plane(vectors: NDArray[np.float32], method: Method = "pca", seed: int = 0) -> NDArray[np.float64]:
    """The vectors as points of a plane, (texts, 2); the same ones each time.

    pca: the two directions in which the vectors differ most: X - mean = U S V^T, points = U S, the first two columns,
    the largest entry of each, the first of equal ones, being positive. Vectors that are all equal are at 0.

    Args:
        vectors: (texts, hidden).
        method: pca, or tsne, which keeps neighbours together, but for which distances mean nothing.
        seed: of tsne.

    Raises:
        DataError: fewer than 3 texts, or vectors that are not finite.

    Example:
        >>> plane(np.array([[0.0, 0, 0], [3, 0, 0], [6, 0, 0]], np.float32)).round(3).tolist()
        [[3.0, 0.0], [0.0, 0.0], [-3.0, 0.0]]
    """
    if len(vectors) < LEAST_TEXTS:
        raise DataError(f"a map needs {LEAST_TEXTS} texts or more; the input has {len(vectors)}.")
    if not np.isfinite(vectors).all():
        raise DataError("some vectors are no numbers (NaN, infinity), and have no place on a map; was training sound?")
    if not np.ptp(vectors, axis=0).any():  # t-SNE would divide by their spread
        return np.zeros((len(vectors), 2))
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    return _principal(centred) if method == "pca" else _neighbours(centred, seed)


def _principal(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(centred), 2))
    points[:, : len(s[:2])] = u[:, :2] * s[:2]
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]  # else the sign is chance
    return np.where(largest < 0, -points, points) + 0.0


def _neighbours(centred: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    perplexity = min(_MOST_NEIGHBOURS, (len(centred) - 1) / 3)
    init = "pca" if centred.shape[1] > 1 else "random"
    made: Any = TSNE(2, perplexity=perplexity, init=init, random_state=seed)
    return np.asarray(made.fit_transform(centred), np.float64)
