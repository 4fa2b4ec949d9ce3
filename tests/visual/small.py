"""Networks of features that are small enough to test with."""

import dataclasses

from avc_jax.nn.resnext3d import ResNeXt3D
from avc_jax.published import resnets
from avc_jax.visual import networks
from avc_jax.visual.networks import Stream

_BLOCKS = (1, 1, 1, 1)


def small_stream(name: str) -> Stream:
    """ResNet-18 of 1/8 width, or a ResNeXt of 1/32 width with a block in each stage: rows of 64 numbers, both."""
    if name == "2d":
        return networks.make_stream("2d", 18, 1 / 8, "float32")
    return dataclasses.replace(networks.make_stream("3d", 18, 1 / 32, "float32"), network=ResNeXt3D(1 / 32, _BLOCKS),
                               kind=resnets.kinetics(_BLOCKS))
