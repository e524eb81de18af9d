"""What codes the blocks of each variable: chosen on the first, and again when it gets worse."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dask_exa.compression.basis import Basis
from dask_exa.compression.bounds import Bound
from dask_exa.compression.coding import Choice, choose_transform, describe_block, encode_block
from dask_exa.compression.field_compressor import FieldCompressor

_WORSE = 0.8
"""Part of the ratio of the block that was tried, below which the choice is made anew."""
_AGAIN = 16


class BlockEncoder:
    """Code blocks of variables within a bound.

    All that may code a block is tried on the first chunk of a variable, on every sixteenth, and
    after one that turned out larger than expected; the others are coded by what was best then.

    Parameters
    ----------
    bound : Bound

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.compression import Bound, decode_block
    >>> from dask_exa.compression._encoding import BlockEncoder
    >>> encode, block = BlockEncoder(Bound("abs", 0.01)), np.sin(np.linspace(0, 9, 500))
    >>> encode.prepare("wave", [block])
    >>> data, basis = encode("wave", block)
    >>> decode_block(data).shape, basis
    ((500,), None)
    """

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self._chosen: dict[str, Choice] = {}
        self._n_chunks: Counter[str] = Counter()
        self._disappointing: set[str] = set()

    def prepare(self, name: str, blocks: Sequence[np.ndarray]) -> None:
        """Choose what codes the blocks of the next chunk of steps, before they are coded."""
        if self._n_chunks[name] % _AGAIN == 0 or name in self._disappointing:
            self._chosen[name] = choose_transform(blocks[len(blocks) // 2], self.bound)
        self._n_chunks[name] += 1
        self._disappointing.discard(name)

    def __call__(self, name: str, block: np.ndarray) -> tuple[bytes, Basis | None]:
        """Return a coded block, and the basis that decodes it; from several threads at a time."""
        chosen = self._chosen[name]
        data = encode_block(block, self.bound, choose=chosen)
        if describe_block(data).ratio < _WORSE * chosen.ratio:
            self._disappointing.add(name)  # for the next chunk: the order of threads is not fixed
        return data, None


class LearningEncoder:
    """Code blocks by a `FieldCompressor` that learns each of them first.

    Parameters
    ----------
    compressor : FieldCompressor
        Learns in place.
    """

    def __init__(self, compressor: FieldCompressor) -> None:
        self.compressor = compressor
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def prepare(self, name: str, blocks: Sequence[np.ndarray]) -> None:
        """Learn the blocks of the next chunk of steps."""
        with self._lock:  # one variable after the other
            for block in blocks:
                # blocks at the end of a run or the edge of a field have no modes of their own
                if block.shape == self._shapes.setdefault(name, block.shape):
                    self.compressor.partial_fit({name: block})

    def __call__(self, name: str, block: np.ndarray) -> tuple[bytes, Basis | None]:
        """Return a coded block, and the basis that decodes it."""
        return self.compressor.encode_field(name, block)
