"""Error-bounded compression of fields: modes learnt online, quantised, with a bound that holds."""

from dask_exa.compression.basis import Basis
from dask_exa.compression.bounds import Bound
from dask_exa.compression.coding import (
    Choice,
    choose_transform,
    decode_block,
    describe_block,
    encode_block,
)
from dask_exa.compression.field_compressor import FieldCompressor

__all__ = [
    "Basis",
    "Bound",
    "Choice",
    "FieldCompressor",
    "choose_transform",
    "decode_block",
    "describe_block",
    "encode_block",
]
