"""From the cells of a map to the pixels of the frame, or the frequencies and times of the sound, that they answer to."""

import numpy as np


def place(maps: np.ndarray, shape: tuple[int, int], cell: tuple[float, float] | None = None) -> np.ndarray:
    """Maps over the input of the network, linearly between the middles of cells.

    Pools leave out what does not fill a window: of 199 frames of a spectrogram, 24 cells of 8 cover 192. To stretch such a map
    over all of its input would shift what it shows, by up to a cell at the end.

    Args:
      maps: float[n, H, W].
      shape: (rows, columns) of the input.
      cell: rows and columns of the input between the middles of neighbouring cells; the first middle is half of that from the
        edge. None: the cells cover the input.

    Returns:
      float32[n, rows, columns]; beyond the middles of the outermost cells it stays as it is there.
    """
    rows, columns = (_weights(size, cells, step) for size, cells, step in
                     zip(shape, maps.shape[1:], cell or (None, None), strict=True))
    return np.einsum("rh,nhw,cw->nrc", rows, maps.astype(np.float32), columns, optimize=True)


def _weights(size: int, cells: int, step: float | None) -> np.ndarray:
    """float32[size, cells]: how much of each cell each row of the input gets."""
    middles = (np.arange(cells) + 0.5) * (step or size / cells)
    at = np.arange(size) + 0.5
    return np.stack([np.interp(at, middles, one) for one in np.eye(cells)], axis=1).astype(np.float32)
