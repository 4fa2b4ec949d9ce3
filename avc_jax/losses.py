"""Losses as pure functions over global arrays. Each returns (sum, count), so that padding never dilutes a mean."""

import jax
import jax.numpy as jnp
import optax


def correspondence(logits: jax.Array, label: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy of the audio-visual correspondence task, in nats (arXiv:1705.08168, section 2).

    Args:
      logits: f32[B, 2]; column 1 says "these belong together".
      label: int32[B], 1 for true pairs, 0 for false ones.
      weight: f32[B], 0 for rows that do not count.

    Returns:
      (f32[] sum, f32[] count).
    """
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return jnp.sum(nats * weight), jnp.sum(weight)


def classification(logits: jax.Array, label: jax.Array, smoothing: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy over K classes, in nats; a label is one-hot mixed with the uniform distribution.

    Args:
      logits: f32[B, K].
      label: int32[B].
      smoothing: share of the uniform distribution (arXiv:1512.00567, section 7).

    Returns:
      (f32[] sum, f32[] count).
    """
    target = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), smoothing)
    return jnp.sum(optax.softmax_cross_entropy(logits, target)), jnp.float32(len(label))


def hits(logits: jax.Array, label: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many rows of f32[B, 2] logits are largest at their label, and how many rows count: (f32[], f32[])."""
    return jnp.sum((jnp.argmax(logits, -1) == label) * weight), jnp.sum(weight)


# Ranking ------------------------------------------------------------------------------------------------------------------
#
# Scores are f[N, N]: row i is compared with column j, and the pairs (i, i) belong together. `present`, bool[N], says which
# examples have both modalities; the others count neither as positives nor as negatives: each loss is that of the smaller matrix.


def mms(scores: jax.Array, margin: jax.Array | float, present: jax.Array | None = None,
        same: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Masked margin softmax, rows to columns and columns to rows (Ilharco, Zhang & Baldridge, CoNLL 2019; arXiv:2006.09199).

    -log softmax of (S - margin * I) at the diagonal, over each row and over each column. With margin 0 it is InfoNCE.

    Args:
      scores: f[N, N].
      margin: taken off the scores of true pairs.
      present: see above.
      same: bool[N, N], pairs that are true although they are off the diagonal: no negatives.

    Returns:
      (f32[] sum over pairs of both terms, f32[] count of pairs).
    """
    return _both_ways(scores, present, lambda scores, usable: _softmax_loss(scores, margin, usable), same)


def scheduled_margin(step: jax.Array, margin: float, growth: float, every: int) -> jax.Array:
    """f32[]: margin * growth ^ floor(step / every); Ilharco et al. start at 0.001 and multiply by 1.002 every 1000 steps."""
    return margin * jnp.float32(growth) ** (step // every)


def adaptive_margin(scores: jax.Array, share: float, present: jax.Array | None = None, *,
                    follow: bool = True) -> tuple[jax.Array, jax.Array]:
    """Adaptive mean margin (Spoken Moments, arXiv:2105.04489): as `mms`, with a margin for each pair and direction.

    The margin is `share` of what a pair's score is above the mean of its negatives'.

    Args:
      scores: f[N, N].
      share: called alpha in the paper, 0.5 there.
      present: see above.
      follow: whether the gradient flows through the margin; the paper does not say.

    Returns: as `mms`.
    """
    def way(scores, usable):
        negatives = usable & ~jnp.eye(len(scores), dtype=bool)
        mean = jnp.sum(jnp.where(negatives, scores, 0.0), 1) / jnp.maximum(negatives.sum(1), 1)
        margin = share * (jnp.diagonal(scores) - mean)
        return _softmax_loss(scores, (margin if follow else jax.lax.stop_gradient(margin))[:, None], usable)

    return _both_ways(scores, present, way)


def nce(scores: jax.Array, present: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Noise-contrastive estimation as in Spoken Moments (arXiv:2105.04489): the denominator holds the negatives alone.

    log sum_{j != i} e^S_ij - S_ii, over rows and over columns; a single pair costs nothing. Arguments and returns as of `mms`.
    """
    def way(scores, usable):
        negatives = usable & ~jnp.eye(len(scores), dtype=bool)
        return jnp.where(negatives.any(1), _log_sum_exp(scores, negatives) - jnp.diagonal(scores), 0.0)

    return _both_ways(scores, present, way)


def max_margin(scores: jax.Array, margin: float, weight: jax.Array | None = None,
               present: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Max-margin ranking as in HowTo100M (arXiv:1906.03327 and its code).

    The mean over all i, j of w_ij * (relu(margin + S_ij - S_ii) + relu(margin + S_ij - S_jj)). The diagonal is among them, as in
    the published code, and adds a constant.

    Args:
      scores: f[N, N].
      margin: 0.1 in the paper.
      weight: f[N, N] or None: 1; see `film_weights`.
      present: see above.

    Returns:
      (f32[] sum, f32[] count): over pairs of examples.
    """
    present = _all_of(scores) if present is None else present
    usable = present[:, None] & present[None, :]
    own = jnp.diagonal(scores)
    terms = jax.nn.relu(margin + scores - own[:, None]) + jax.nn.relu(margin + scores - own[None, :])
    weight = 1.0 if weight is None else weight
    return jnp.sum(jnp.where(usable, weight * terms, 0.0)), jnp.sum(usable, dtype=jnp.float32)


def film_weights(film: jax.Array, hard: float, present: jax.Array | None = None) -> jax.Array:
    """f32[N, N] weights for `max_margin`, whose mean over present pairs is 1: negatives of the same film count `hard` of all.

    With V films of n clips: V * hard within a film, V * (1 - hard) / (V - 1) across (the code of arXiv:1906.03327). Where every
    clip is of a film of its own all weights are 1.

    Args:
      film: int[N], which film each clip is of.
      hard: share of the weights that lies within films, 0.5 in the published code.
      present: see above.
    """
    present = jnp.ones(film.shape, bool) if present is None else present
    usable = present[:, None] & present[None, :]
    within = film[:, None] == film[None, :]
    share = jnp.sum(within & usable) / jnp.maximum(jnp.sum(usable), 1)
    weights = jnp.where(within, hard / share, (1 - hard) / (1 - share))
    mixed = jnp.any(within & usable & ~jnp.eye(len(film), dtype=bool)) & jnp.any(~within & usable)
    return jnp.where(mixed, weights, 1.0)


def mil_nce(scores: jax.Array, present: jax.Array | None = None,
            candidates: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """MIL-NCE (Miech et al., CVPR 2020, arXiv:1912.06430): several candidates of which any may be the match.

    -log(sum of e^S over i's own candidates / (the same sum over row i + over column i)). The published code counts a pair's own
    candidates in the row and in the column, hence twice, and so does this.

    Args:
      scores: f[N, N] or f[N, N, K]: of row i and the k-th candidate of example j.
      present: see above.
      candidates: bool[N, K], those that there are, as a film may have fewer captions than K; None: all. An example without any
        is not present.

    Returns:
      (f32[] sum over examples, f32[] count of examples).
    """
    scores = scores if scores.ndim == 3 else scores[..., None]
    candidates = jnp.ones(scores.shape[1:], bool) if candidates is None else candidates
    present = candidates.any(1) if present is None else present & candidates.any(1)
    candidates = candidates & present[:, None]
    usable = present[:, None, None] & candidates[None]
    rows, allowed = (jnp.concatenate([both, both.swapaxes(0, 1)], 1).reshape(len(both), -1) for both in (scores, usable))
    own = _log_sum_exp(jnp.diagonal(scores).T, candidates)
    nats = jnp.where(present, _log_sum_exp(rows, allowed) - own, 0.0)
    return jnp.sum(nats), jnp.sum(present, dtype=jnp.float32)


def draw_impostors(rng: jax.Array, count: int, present: jax.Array | None = None) -> jax.Array:
    """int32[N]: for each of N examples another one, uniformly among those that are present.

    Where there is no other, what comes out is the example itself, which `triplet` leaves out.
    """
    present = jnp.ones(count, bool) if present is None else present
    others = present[None, :] & ~jnp.eye(count, dtype=bool)
    drawn = jax.random.categorical(rng, jnp.where(others, 0.0, -jnp.inf), axis=1)
    return jnp.where(others.any(1), drawn, jnp.arange(count))


def triplet(scores: jax.Array, impostor: jax.Array, margin: float,
            present: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Hinge of each row's own score and that of a given impostor: relu(S[i, impostor[i]] - S[i, i] + margin).

    Rows to columns; the other way round is that of scores.T (Harwath et al., arXiv:1911.09602).

    Args:
      scores: f[N, N].
      impostor: int[N], see `draw_impostors`.
      margin: 1 in the paper.
      present: see above.

    Returns:
      (f32[] sum over rows, f32[] count of rows).
    """
    present = _all_of(scores) if present is None else present
    nearness = jnp.take_along_axis(scores, impostor[:, None], 1)[:, 0]
    counts = present & (impostor != jnp.arange(len(scores)))
    return _hinge(nearness - jnp.diagonal(scores) + margin, counts, present)


def semi_hard_triplet(scores: jax.Array, margin: float, present: jax.Array | None = None, *,
                      legacy_floor: bool = False) -> tuple[jax.Array, jax.Array]:
    """As `triplet`, with the nearest impostor that is less near than the row's own column.

    A row whose impostors are all nearer than its own column costs nothing. With legacy_floor its impostor scores 0, and none
    scores less: so does the published code, whose mask is zeros.
    """
    present = _all_of(scores) if present is None else present
    own = jnp.diagonal(scores)
    eligible = (scores < own[:, None]) & present[:, None] & present[None, :]
    ranked = jax.lax.stop_gradient(jnp.where(eligible, scores, -jnp.inf))
    # Chosen by place, not by value, so that the gradient cannot get lost (see `vgg.global_max_pool`).
    nearest = jnp.take_along_axis(scores, jnp.argmax(ranked, 1)[:, None], 1)[:, 0]
    some = eligible.any(1)
    if legacy_floor:
        return _hinge(jnp.where(some & (nearest > 0), nearest, 0.0) - own + margin, present, present)
    return _hinge(jnp.where(some, nearest - own, 0.0) + margin, present & some, present)


def _all_of(scores: jax.Array) -> jax.Array:
    return jnp.ones(len(scores), bool)


def _hinge(excess: jax.Array, counts: jax.Array, present: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(sum of relu(excess f[N]) where it counts, how many are present)."""
    return jnp.sum(jnp.where(counts, jax.nn.relu(excess), 0.0)), jnp.sum(present, dtype=jnp.float32)


def _both_ways(scores: jax.Array, present: jax.Array | None, way, same: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Adds up the loss f[N] of rows that `way` makes of (scores, usable bool[N, N]), and that of columns."""
    present = _all_of(scores) if present is None else present
    usable = present[:, None] & present[None, :]
    if same is not None:
        usable &= ~same | jnp.eye(len(scores), dtype=bool)
    nats = way(scores, usable) + way(scores.T, usable.T)
    return jnp.sum(jnp.where(present, nats, 0.0)), jnp.sum(present, dtype=jnp.float32)


def _softmax_loss(scores: jax.Array, margin: jax.Array | float, usable: jax.Array) -> jax.Array:
    """f[N]: -log softmax at the diagonal of scores f[N, N] whose diagonal lost the margin, f[] or f[N, 1]."""
    lowered = scores - margin * jnp.eye(len(scores), dtype=scores.dtype)
    return _log_sum_exp(lowered, usable) - jnp.diagonal(lowered)


def _log_sum_exp(scores: jax.Array, usable: jax.Array) -> jax.Array:
    """f[N] of the usable ones of each row; finite, with zero gradients, also where there are none."""
    some = usable.any(1, keepdims=True)
    return jax.nn.logsumexp(jnp.where(usable, scores, jnp.where(some, -jnp.inf, 0.0)), axis=1)
