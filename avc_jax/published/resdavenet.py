"""The table of ResDAVEnet as its published code and AVLnet's name the arrays."""

from collections.abc import Sequence

from avc_jax.published.table import Entry, torch_norm

_KERNEL = (3, 1, 0)  # of a convolution over 1 x W: W, input, output


def resdavenet(theirs: str, ours: str, depths: Sequence[int] = (2, 2, 2, 2)) -> list[Entry]:
    """The arrays of `nn.resdavenet.ResDAVEnet`.

    Args:
      theirs: what stands before the names in the published checkpoint, such as "DAVEnet."; or empty.
      ours: where the network is among our variables, such as "audio/trunk/"; or empty.
      depths: blocks of each stage.
    """
    # The first kernel spans 40 x 1 elements of one channel there, and one frame of 40 channels here.
    found = [*torch_norm(f"{theirs}batchnorm1", f"{ours}unused_norm"),
             Entry(f"{theirs}conv1.weight", f"params/{ours}conv1/kernel", (3, 2, 0)), *torch_norm(f"{theirs}bn1", f"{ours}norm1")]
    for stage, count in enumerate(depths, start=1):
        for index in range(count):
            block, mine = f"{theirs}layer{stage}.{index}", f"{ours}stage{stage}_block{index}"
            layers = [(f"conv{place}", f"bn{place}", str(place)) for place in (1, 2)]
            if index == 0:
                layers.append(("downsample.0", "downsample.1", "_shortcut"))
            for conv, norm, name in layers:
                found += [Entry(f"{block}.{conv}.weight", f"params/{mine}/conv{name}/kernel", _KERNEL),
                          *torch_norm(f"{block}.{norm}", f"{mine}/norm{name}")]
    return found
