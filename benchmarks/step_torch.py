"""The peer of benchmarks/step.py: L3-Net's training step in PyTorch, written as its guides advise."""

import torch
from torch import nn
from torch.nn import functional


class Trunk(nn.Sequential):
    """Four blocks of two 3x3 convolutions with batch normalisation and ReLU, 2x2 max-pools between, a global one at the end."""

    def __init__(self, channels: int, stride: int, width: float):
        layers: list[nn.Module] = []
        for block, size in enumerate((64, 128, 256, 512)):
            out = max(1, round(size * width))
            layers += [nn.MaxPool2d(2)] if block else []
            for conv in range(2):
                step = stride if block == 0 and conv == 0 else 1
                layers += [nn.Conv2d(channels, out, 3, step, padding=1, bias=False), nn.BatchNorm2d(out, eps=1e-3),
                           nn.ReLU(inplace=True)]
                channels = out
        super().__init__(*layers)

    def forward(self, x):
        return super().forward(x).amax((2, 3))


class L3Net(nn.Module):
    """uint8 frames [B, S, S, 3] and int16 samples [B, N] to logits [B, 2], with the augmentation of training."""

    def __init__(self, stride: int, width: float):
        super().__init__()
        self.vision, self.audio = Trunk(3, stride, width), Trunk(1, stride, width)
        self.fusion = nn.Sequential(nn.Linear(2 * round(512 * width), 128), nn.ReLU(), nn.Linear(128, 2))
        self.register_buffer("window", torch.hann_window(480, periodic=True))

    def forward(self, frame, waveform):
        picture = augment(frame.permute(0, 3, 1, 2).float() / 255)
        picture = (2 * picture - 1).contiguous(memory_format=torch.channels_last)
        gain = torch.empty(len(waveform), 1, device=waveform.device).uniform_(0.9, 1.1)
        frames = (waveform.float() / 32768 * gain).unfold(1, 480, 240) * self.window
        spectrum = torch.fft.rfft(frames, n=512)
        power = spectrum.real.square() + spectrum.imag.square()
        spectrogram = (0.1 * power.clamp_min(1e-24).log()).transpose(1, 2)[:, None]
        spectrogram = spectrogram.contiguous(memory_format=torch.channels_last)
        return self.fusion(torch.cat([self.vision(picture), self.audio(spectrogram)], 1))


def augment(picture):
    """Flip, brightness and saturation of [B, 3, H, W] in [0, 1], drawn per picture."""
    shape, device = (len(picture), 1, 1, 1), picture.device
    picture = torch.where(torch.rand(shape, device=device) < 0.5, picture.flip(3), picture)
    delta = torch.empty(shape, device=device).uniform_(-32 / 255, 32 / 255)
    factor = torch.empty(shape, device=device).uniform_(0.5, 1.5)
    first, second = saturate((picture + delta).clamp(0, 1), factor), (saturate(picture, factor) + delta).clamp(0, 1)
    return torch.where(torch.rand(shape, device=device) < 0.5, first, second)


def saturate(picture, factor):
    value = picture.amax(1, keepdim=True)
    chroma = value - picture.amin(1, keepdim=True)
    return value - (value - picture) * torch.minimum(factor, value / chroma.clamp_min(1e-6))


def make_step(batch, *, stride: int, width: float, precision: str, compiled: bool):
    """A function that runs one training step to its end.

    Args:
      batch: NumPy arrays frame, waveform, label.
      stride, width: of the network.
      precision: float32, or bfloat16 by autocast.
      compiled: use torch.compile.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("highest")
    torch.manual_seed(0)
    net = L3Net(stride, width).to(device, memory_format=torch.channels_last)
    kernels = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    # Adam's weight_decay is the L2 form: its gradient is weight_decay * W, so 2e-5 is 1e-5 * sum(W^2).
    optimizer = torch.optim.Adam([{"params": kernels, "weight_decay": 2e-5}, {"params": rest}], lr=1e-4, fused=True)
    frame, waveform, label = (torch.from_numpy(batch[name]).to(device) for name in ("frame", "waveform", "label"))
    label = label.long()

    def loss_of(frame, waveform, label):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            return functional.cross_entropy(net(frame, waveform).float(), label)

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(frame, waveform, label).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run
