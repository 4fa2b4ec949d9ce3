"""Tables of residual networks as torchvision names their arrays: ResNets, and ResNeXt-101 over clips of Kinetics."""

from collections.abc import Sequence

from avc_jax.nn import resnet, resnext3d
from avc_jax.published.table import Checkpoint, Entry, torch_norm

# The classifier, and counters that files from before PyTorch 0.4.1 do not have.
BESIDE: dict[str, tuple[int, ...] | None] = {"fc.weight": None, "fc.bias": None, "*num_batches_tracked": ()}


def resnet2d(depth: int, theirs: str = "", ours: str = "") -> list[Entry]:
    """The arrays of `nn.resnet.ResNet`.

    Args:
      depth: 18, 34, 50, 101 or 152.
      theirs: what stands before the names in the published checkpoint, such as "image_model.".
      ours: where the network is among our variables, such as "image/"; empty: it is all of them.
    """
    blocks, expansion = resnet.DEPTHS[depth]
    # Basic blocks have shortcuts with arrays where a stage halves the map, bottlenecks also where the first widens it.
    return _entries(2, blocks, 2 if expansion == 1 else 3, expansion > 1, theirs, ours)


def resnext3d101(blocks: Sequence[int] = resnext3d.BLOCKS, theirs: str = "", ours: str = "") -> list[Entry]:
    """The arrays of `nn.resnext3d.ResNeXt3D`; arguments as of `resnet2d`."""
    return _entries(3, blocks, 3, True, theirs, ours)


def torchvision(depth: int) -> Checkpoint:
    """A ResNet with ImageNet weights, such as torchvision's resnet152.pth."""
    return Checkpoint({}, tuple(resnet2d(depth)), beside=BESIDE)


def kinetics(blocks: Sequence[int] = resnext3d.BLOCKS) -> Checkpoint:
    """ResNeXt-101 of Kinetics, resnext-101-kinetics.pth; the reader takes `module.` off its names."""
    return Checkpoint({}, tuple(resnext3d101(blocks)), beside=BESIDE)


def _entries(axes: int, blocks: Sequence[int], convs: int, widens: bool, theirs: str, ours: str) -> list[Entry]:
    """Those of a stem and four stages; `convs` in each block, `widens`: the first stage has a shortcut with arrays."""
    found = _layer(axes, f"{theirs}conv1", f"{theirs}bn1", ours, "1")
    for stage, count in enumerate(blocks, start=1):
        for index in range(count):
            block, mine = f"{theirs}layer{stage}.{index}", f"{ours}stage{stage}_block{index}/"
            for place in range(1, convs + 1):
                found += _layer(axes, f"{block}.conv{place}", f"{block}.bn{place}", mine, str(place))
            if index == 0 and (stage > 1 or widens):
                found += _layer(axes, f"{block}.downsample.0", f"{block}.downsample.1", mine, "_shortcut")
    return found


def _layer(axes: int, conv: str, norm: str, ours: str, name: str) -> list[Entry]:
    """A convolution over some axes and its normalisation: from OI and the axes of a kernel to the axes and IO."""
    kernel = Entry(f"{conv}.weight", f"params/{ours}conv{name}/kernel", (*range(2, 2 + axes), 1, 0))
    return [kernel, *torch_norm(norm, f"{ours}norm{name}")]
