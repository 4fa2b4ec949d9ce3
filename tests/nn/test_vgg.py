"""The trunk of L3-Net: pools and what reaches them."""

import jax
import numpy as np

from avc_jax.nn import vgg


def test_global_max_pool_does_not_depend_on_where_the_activations_are():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    order = np.random.default_rng(1).permutation(20)
    moved = x.reshape(3, 20, 6)[:, order].reshape(3, 4, 5, 6)
    np.testing.assert_array_equal(vgg.global_max_pool(x), vgg.global_max_pool(moved))
    np.testing.assert_array_equal(vgg.global_max_pool(x), x.reshape(3, 20, 6).max(1))


def test_global_max_pool_of_one_spike_is_the_spike():
    x = np.zeros((1, 4, 5, 2), np.float32)
    x[0, 2, 3, 1] = 7.5
    np.testing.assert_array_equal(vgg.global_max_pool(x), [[0.0, 7.5]])


def test_gradient_of_the_pool_goes_to_the_largest_activation():
    x = np.random.default_rng(2).normal(size=(2, 3, 3, 4)).astype(np.float32)
    grad = np.asarray(jax.grad(lambda x: vgg.global_max_pool(x).sum())(x))
    np.testing.assert_array_equal(grad, x == x.max((1, 2), keepdims=True))


def test_odd_sizes_are_floored_by_the_pools():
    shape = jax.eval_shape(lambda x: vgg.VGGTrunk(width=1 / 64).init_with_output(jax.random.key(0), x, False)[0],
                           jax.ShapeDtypeStruct((1, 31, 17, 1), "float32")).shape
    assert shape == (1, 3, 2, 8)  # 31 -> 15 -> 7 -> 3; 17 -> 8 -> 4 -> 2


def test_odd_sizes_are_kept_by_the_pools_of_openl3s_vision_trunk():
    trunk = vgg.VGGTrunk(width=1 / 64, openl3_vision=True)
    shape = jax.eval_shape(lambda x: trunk.init_with_output(jax.random.key(0), x, False)[0],
                           jax.ShapeDtypeStruct((1, 31, 17, 1), "float32")).shape
    assert shape == (1, 4, 3, 8)  # 31 -> 16 -> 8 -> 4; 17 -> 9 -> 5 -> 3


def test_an_edge_that_is_kept_is_pooled_alone_and_its_gradient_is_finite():
    x = -np.abs(np.random.default_rng(3).normal(size=(1, 3, 2, 1))).astype(np.float32)  # below zero: padding may not win
    pool = lambda x: vgg.max_pool(vgg._to_even(x))  # noqa: E731
    np.testing.assert_array_equal(np.asarray(pool(x))[0, :, 0, 0], [x[0, :2].max(), x[0, 2].max()])
    grad = np.asarray(jax.grad(lambda x: pool(x).sum())(x))
    np.testing.assert_array_equal(grad, (x == x[0, :2].max()) | (x == x[0, 2].max()))


def test_remat_keeps_the_tree_of_parameters():
    x = jax.ShapeDtypeStruct((1, 16, 16, 1), "float32")
    trees = [jax.eval_shape(lambda x, remat=remat: vgg.VGGTrunk(width=1 / 64, remat=remat).init(jax.random.key(0), x, False), x)
             for remat in (False, True)]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
