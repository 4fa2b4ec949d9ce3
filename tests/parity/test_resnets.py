"""Residual networks with the vectors' weights: maps and running statistics are those of PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from parity.vectors import Vectors

from avc_jax.nn.resnet import ResNet
from avc_jax.published import resnets, translate
from avc_jax.published.table import Checkpoint


def converted(vectors: Vectors, model: str, depth: int, rename=lambda name: name):
    """Flax variables of the trunk, and the published weights that are not of it. `rename` gives torchvision's names."""
    weights = {rename(name): array for name, array in vectors.weights(model).items()}
    kind = Checkpoint({}, tuple(resnets.resnet2d(depth)), beside=dict.fromkeys([*resnets.BESIDE, "embedder.*", "fc.*"]))
    shapes = jax.eval_shape(lambda: ResNet(depth).init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), False))
    ours = translate.to_ours(weights, kind, flatten_dict(dict(shapes), sep="/"), {})
    known = {entry.theirs for entry in kind.entries}
    return unflatten_dict(ours, sep="/"), {name: array for name, array in weights.items() if name not in known}, kind


def statistics(kind: Checkpoint, new) -> dict[str, np.ndarray]:
    """Running statistics by the names of torchvision."""
    flat = flatten_dict(dict(new), sep="/")
    return {entry.theirs: np.asarray(flat[entry.ours]) for entry in kind.entries if entry.ours.startswith("batch_stats")}


@pytest.mark.parametrize(("folder", "name", "depth"), [
    ("spoken_objectnet", "davenet_resnet18", 18),
    ("resdavenet_vq", "image_resnet50_eval", 50), ("resdavenet_vq", "image_resnet50_train", 50)])
def test_maps_are_those_of_the_image_branches_of_spoken_captions(shared, folder, name, depth):
    vectors = Vectors(shared / "vectors" / folder / f"{name}.npz")
    variables, head, kind = converted(vectors, "image", depth)
    train = vectors.meta["mode"] == "train"
    picture = vectors.input("image").transpose(0, 2, 3, 1)
    found, new = jax.jit(lambda variables: ResNet(depth).apply(variables, picture, train, mutable=["batch_stats"]))(variables)
    embedded = np.einsum("bhwc,dc->bdhw", found, head["embedder.weight"][:, :, 0, 0]) + head["embedder.bias"][:, None, None]
    vectors.check("image", embedded)
    if train:
        vectors.check_statistics("image", statistics(kind, new))


@pytest.mark.parametrize("name", ["resnet18fc_eval", "resnet18dilated_train"])
def test_features_are_those_of_the_image_network_of_sound_of_pixels(shared, name):
    vectors = Vectors(shared / "vectors" / "sound_of_pixels" / f"{name}.npz")
    places = {"0": "conv1", "1": "bn1", **{str(3 + stage): f"layer{stage}" for stage in range(1, 5)}}

    def rename(name: str) -> str:
        first, *rest = name.split(".")
        return ".".join([places[rest[0]], *rest[1:]]) if first == "features" else name

    variables, head, kind = converted(vectors, "net_frame", 18, rename)
    about, train = vectors.meta["models"]["net_frame"]["args"], vectors.meta["mode"] == "train"
    frames = vectors.input("frames").transpose(0, 2, 3, 4, 1)
    network = ResNet(18, dilated=about["arch"] == "resnet18dilated")

    def features(variables):
        found, new = network.apply(variables, frames.reshape(-1, *frames.shape[2:]), train, mutable=["batch_stats"])
        found = jax.lax.conv_general_dilated(found, head["fc.weight"].transpose(2, 3, 1, 0), (1, 1), ((1, 1), (1, 1)),
                                             dimension_numbers=("NHWC", "HWIO", "NHWC")) + head["fc.bias"]
        found = found.reshape(*frames.shape[:2], *found.shape[1:])
        return (found.max((1, 2, 3)) if about["pool"] == "maxpool" else found.mean((1, 2, 3))), new

    found, new = jax.jit(features)(variables)
    vectors.check("feat", found)
    if train:
        found, names = statistics(kind, new), vectors.meta["models"]["net_frame"]["bn_names"]
        vectors.check_statistics("net_frame", {name: found.get(rename(name)) for name in names})
