"""A linear map between two spaces of word vectors: fitted, judged, refined.

Tzirakis et al. 2021, section 3.1, equation 3, after Lample et al. 2018, "Word
translation without parallel data"; taught in chapter `alignment`.

A space is its rows, (words, dims) float32, the most frequent word first. A mapping W is
(target dims, source dims) and acts as `rows @ W.T`; the paper, whose words are columns,
writes WS.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

logger = logging.getLogger(__name__)

METHODS = ("csls", "nn")
GROUP = 64
"""Columns of which `_largest` compares only the maximum first."""


def normalise(
    rows: np.ndarray, steps: Sequence[str] = ("unit", "centre", "unit")
) -> np.ndarray:
    """Bring every vector to length 1, and the mean of all to 0.

    Args:
        rows: (words, dims).
        steps: any of `unit` and `centre`, in the order in which they are taken.

    Returns:
        (words, dims) float32; the argument is left as it is.

    Raises:
        ValueError: for another step, for rows that are not finite (see `check_rows`),
            and where a vector has no direction: it is zero, or equal to the mean.
    """
    check_rows(rows, "rows")
    rows = np.array(rows, dtype=np.float64)
    longest = np.linalg.norm(rows, axis=1).max()
    for number, step in enumerate(steps):
        if step == "centre":
            rows -= rows.mean(axis=0)
        elif step == "unit":
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            if len(flat := np.flatnonzero(lengths <= 1e-7 * longest)):
                why = "equal to the mean" if "centre" in steps[:number] else "zero"
                raise ValueError(
                    f"row {flat[0]} is {why} and has no direction; expected vectors"
                    f" that differ from it ({len(flat)} of {len(rows)} rows do not)"
                )
            rows /= lengths
            longest = 1.0
        else:
            raise ValueError(f"no step is called {step!r}; expected unit or centre")
    return rows.astype(np.float32)


def check_rows(rows: np.ndarray, name: str) -> None:
    """Raise a ValueError unless `rows` is a space: (words, dims), not empty, finite."""
    shape = np.shape(rows)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name}: expected (words, dims), found shape {shape}")
    if not np.isfinite(rows).all():
        row = np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]
        raise ValueError(f"{name}: row {row} holds NaN or infinity")


def check_spaces(source: np.ndarray, target: np.ndarray) -> None:
    """Raise a ValueError unless a mapping can turn one space into the other."""
    check_rows(source, "source")
    check_rows(target, "target")
    if min(len(source), len(target)) < 2:
        raise ValueError(
            f"found {len(source)} source and {len(target)} target words; expected at"
            " least two of each, one vector alone can be turned into any other"
        )
    if source.shape[1] > target.shape[1]:
        raise ValueError(
            f"the source has {source.shape[1]} dimensions and the target"
            f" {target.shape[1]}; a mapping that keeps lengths needs at least as many"
            " there: map the other way round"
        )


def check_pairs(pairs: np.ndarray, words: int, others: int) -> np.ndarray:
    """Return pairs as (pairs, 2) int64; a ValueError names one that does not exist."""
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(
            f"expected pairs of a source and a target word, found shape {pairs.shape}"
        )
    bad = (pairs < 0) | (pairs >= (words, others))
    if bad.any():
        number = np.flatnonzero(bad.any(axis=1))[0]
        raise ValueError(
            f"pair {number} is {tuple(pairs[number].tolist())}; there are {words}"
            f" source and {others} target words"
        )
    return pairs.astype(np.int64)


def procrustes(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Turn one set of vectors into another (Tzirakis et al. 2021, equation 3).

    The paper's SVD(S_r T_r^T) = U Σ V^T gives W = V U^T, the argmin of
    ||W S_r - T_r||_F over the matrices that keep lengths (W^T W = 1).

    Args:
        source: (pairs, source dims), row by row the partners of `target`.
        target: (pairs, target dims), with at least as many dimensions.

    Returns:
        (target dims, source dims) float32.

    Raises:
        ValueError: if the numbers of rows differ, the target has fewer dimensions (no
            closed form exists), or a value is not finite.
    """
    check_rows(source, "source")
    check_rows(target, "target")
    if len(source) != len(target) or source.shape[1] > target.shape[1]:
        raise ValueError(
            "expected as many target as source rows, and at least as many dimensions;"
            f" found {source.shape} and {target.shape}"
        )
    product = source.T.astype(np.float64) @ target  # (source dims, target dims)
    u, _, vt = np.linalg.svd(product, full_matrices=False)
    return (vt.T @ u.T).astype(np.float32)


def neighbours(
    mapped: np.ndarray,
    target: np.ndarray,
    k: int,
    *,
    method: str = "csls",
    csls_k: int = 10,
    queries: np.ndarray | None = None,
    chunk: int = 256,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Find the target words nearest to mapped source words.

    `nn` ranks by cosine. `csls` (Lample et al. 2018, equation 2) takes off how near a
    word is to everything: CSLS(x, y) = 2 cos(x, y) - r_T(x) - r_S(y), where r_T(x) is
    the mean cosine of x to its `csls_k` nearest target words, r_S(y) that of y to its
    nearest mapped words. No more than `chunk` rows of the matrix exist at a time.

    Args:
        mapped: (source words, dims), source rows after the mapping.
        target: (target words, dims).
        k, csls_k: how many; with fewer words, all of them.
        queries: which rows of `mapped` to look up; None for all. r_S is over all.
        chunk: rows at a time.
        device: where to compute.

    Returns:
        (queries, k) indices of target words, the nearest first, and (queries, k)
        float32 scores.

    Raises:
        ValueError: for an unknown method, k below 1, or rows that do not fit.
    """
    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}; expected csls or nn")
    if min(k, csls_k, chunk) < 1:
        raise ValueError(
            f"expected k, csls_k, chunk of at least 1, got {k}, {csls_k}, {chunk}"
        )
    mapped, target = _unit(mapped, target, device)
    asked = mapped if queries is None else mapped[torch.as_tensor(queries)]
    near = csls_k if method == "csls" else 0
    return _nearest(asked, target, mapped, k, near, chunk)


def precision(
    mapped: np.ndarray,
    target: np.ndarray,
    pairs: np.ndarray,
    at: Sequence[int] = (1, 5, 10),
    **how: object,
) -> tuple[dict[int, float], np.ndarray]:
    """Share of words with a right translation among the k nearest, for some k.

    Args:
        mapped, target: as for `neighbours`.
        pairs: (pairs, 2) of a source and a target index; a source word in several
            pairs has several right translations, and is one query.
        at: the k.
        how: `method`, `csls_k`, `chunk`, `device` of `neighbours`.

    Returns:
        k to precision, and (queries, len(at)) bool: whether each query was hit, by
        source index, for intervals.

    Raises:
        ValueError: if there is no pair, or one is out of range.
    """
    pairs = check_pairs(pairs, len(mapped), len(target))
    queries, query = np.unique(pairs[:, 0], return_inverse=True)
    found, _ = neighbours(mapped, target, max(at), queries=queries, **how)
    rank = np.full(len(queries), len(target))
    of_pair, ranks = np.nonzero(found[query] == pairs[:, 1:])
    np.minimum.at(rank, query[of_pair], ranks)
    hits = rank[:, None] < np.asarray(at)
    return dict(zip(at, hits.mean(axis=0).tolist(), strict=True)), hits


def dictionary(
    mapped: np.ndarray,
    target: np.ndarray,
    frequent: int = 15_000,
    *,
    csls_k: int = 10,
    chunk: int = 256,
    device: str = "cpu",
) -> np.ndarray:
    """Pair the words that are each other's nearest by CSLS, among the frequent ones.

    Args:
        mapped, target: as for `neighbours`.
        frequent: how many words of each space to pair; with fewer, all of them.
        csls_k, chunk, device: as for `neighbours`.

    Returns:
        (pairs, 2) of a source and a target index, by source index.
    """
    mapped, target = _frequent(mapped, target, frequent)
    mapped, target = _unit(mapped, target, device)
    there = _nearest(mapped, target, mapped, 1, csls_k, chunk)[0][:, 0]
    back = _nearest(target, mapped, target, 1, csls_k, chunk)[0][:, 0]
    mutual = np.flatnonzero(back[there] == np.arange(len(there)))
    return np.stack([mutual, there[mutual]], axis=1)


def refine(
    source: np.ndarray,
    target: np.ndarray,
    mapping: np.ndarray,
    rounds: int = 5,
    frequent: int = 15_000,
    **how: object,
) -> np.ndarray:
    """Fit the mapping anew to the dictionary that it makes, some times over.

    Args:
        source, target: (words, dims) each.
        mapping: (target dims, source dims), a rough one.
        rounds: of `dictionary` and `procrustes`; the last one counts.
        frequent: as for `dictionary`.
        how: `csls_k`, `chunk`, `device` of `dictionary`.

    Returns:
        (target dims, source dims) float32.
    """
    check_spaces(source, target)
    source, target = _frequent(source, target, frequent)
    for _ in range(rounds):
        pairs = dictionary(source @ mapping.T, target, len(source), **how)
        mapping = procrustes(source[pairs[:, 0]], target[pairs[:, 1]])
    return mapping


def criterion(
    mapped: np.ndarray,
    target: np.ndarray,
    frequent: int = 10_000,
    *,
    csls_k: int = 10,
    chunk: int = 256,
    device: str = "cpu",
) -> float:
    """Judge a mapping without a dictionary: mean cosine between the most frequent
    source words and their CSLS translations (Lample et al. 2018, section 3.5).

    Translations are looked for among as many of the target's most frequent words.

    Returns:
        in [-1, 1]; the higher, the better.
    """
    mapped, target = _frequent(mapped, target, frequent)
    mapped, target = _unit(mapped, target, device)
    found = _nearest(mapped, target, mapped, 1, csls_k, chunk)[0][:, 0]
    return float((mapped * target[torch.as_tensor(found)]).sum(1).mean())


def _frequent(
    source: np.ndarray, target: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent words of both."""
    if limit < 1:
        raise ValueError(f"expected at least one frequent word, got {limit}")
    if limit > min(len(source), len(target)):
        logger.info(
            "the limit is the %d most frequent words; there are %d source and %d target"
            " words",
            limit,
            len(source),
            len(target),
        )
    return source[:limit], target[:limit]


def _unit(mapped: np.ndarray, target: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    """Both spaces as tensors of unit rows; a zero row stays zero, cosine 0 to all."""
    check_rows(mapped, "mapped")
    check_rows(target, "target")
    if mapped.shape[1] != target.shape[1]:
        raise ValueError(
            f"mapped words have {mapped.shape[1]} dimensions and target words"
            f" {target.shape[1]}; expected source rows after the mapping, rows @ W.T"
        )
    mapped, target = (
        torch.tensor(rows, dtype=torch.float32, device=device)
        for rows in (mapped, target)
    )
    return normalize(mapped), normalize(target)


def _nearest(
    queries: Tensor, keys: Tensor, others: Tensor, k: int, csls_k: int, chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """`neighbours` of unit rows; by cosine if `csls_k` is 0."""
    if csls_k:
        nearness = [top.mean(1) for _, top, _ in _best(keys, others, csls_k, chunk)]
        hub = torch.cat(nearness) / 2  # (keys,): r_S(y) / 2
    indices, scores = [], []
    for cosines, best, columns in _best(queries, keys, csls_k or k, chunk):
        if csls_k:
            r = best.mean(1, keepdim=True)  # (rows, 1): r_T(x)
            best, columns = _largest(cosines.sub_(hub), k)
            best = 2 * best - r
        scores.append(best.cpu())
        indices.append(columns.cpu())
    return torch.cat(indices).numpy(), torch.cat(scores).numpy()


def _best(
    queries: Tensor, keys: Tensor, k: int, chunk: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cosines of some queries at a time with all keys, and the k largest of each row
    with their columns.
    """
    block = queries.new_empty(min(chunk, len(queries)), len(keys))
    for rows in queries.split(chunk):
        cosines = torch.mm(rows, keys.T, out=block[: len(rows)])
        yield cosines, *_largest(cosines, k)


def _largest(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`block.topk(k)` of (rows, columns), with one quick look at most of it.

    The k largest lie in the k groups of columns with the largest maxima.
    """
    columns = block.shape[1]
    k = min(k, columns)
    if columns < 2 * k * GROUP:
        return block.topk(k)
    whole = columns - columns % GROUP
    groups = block[:, :whole].unflatten(1, (-1, GROUP))  # (rows, groups, GROUP)
    chosen = groups.amax(2).topk(k, sorted=False).indices[..., None]
    rest = torch.arange(whole, columns, device=block.device).expand(len(block), -1)
    within = torch.arange(GROUP, device=block.device)
    candidates = torch.cat([(chosen * GROUP + within).flatten(1), rest], dim=1)
    best, places = block.gather(1, candidates).topk(k)
    return best, candidates.gather(1, places)
