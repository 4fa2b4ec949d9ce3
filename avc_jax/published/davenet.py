"""The tables of DAVEnet's two networks as its published code names the arrays."""

from avc_jax.nn.davenet import PICTURE
from avc_jax.published.table import Entry, torch_conv, torch_norm


def davenet(theirs: str, ours: str) -> list[Entry]:
    """The arrays of `nn.davenet.DAVEnet`.

    Args:
      theirs: what stands before the names in the published checkpoint.
      ours: where the network is among our variables, such as "audio/".
    """
    found = torch_norm(f"{theirs}batchnorm1", f"{ours}norm")
    for place in range(1, 6):
        # The first kernel spans 40 x 1 elements of one channel there, and one frame of 40 channels here.
        axes = (3, 2, 0) if place == 1 else (3, 1, 0)
        found += [Entry(f"{theirs}conv{place}.weight", f"params/{ours}conv{place}/kernel", axes),
                  Entry(f"{theirs}conv{place}.bias", f"params/{ours}conv{place}/bias")]
    return found


def vgg16(theirs: str, ours: str) -> list[Entry]:
    """The arrays of `nn.davenet.VGG16`, which PyTorch numbers with its ReLUs and pools; arguments as of `davenet`."""
    found, number = [], 0
    for block, (_, count) in enumerate(PICTURE, start=1):
        for place in range(1, count + 1):
            found += torch_conv(f"{theirs}{number}", f"{ours}block{block}_conv{place}")
            number += 2  # the ReLU
        number += 1  # the pool
    return found
