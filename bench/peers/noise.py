"""The numbers that every library computes with."""
import math

import numpy


def noise(shape, scale=1.0, seed=0):
    """Numbers in [-scale, scale): what bench/peers/task.ts fills its tensors with."""
    x = numpy.arange(math.prod(shape), dtype=numpy.uint32) + numpy.uint32(seed * 0x9E3779B9 % 2**32)
    x = (x ^ (x >> 16)) * numpy.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * numpy.uint32(0x846CA68B)
    values = scale * ((x ^ (x >> 16)).astype(numpy.float64) / 2**31 - 1)
    return values.astype(numpy.float32).reshape(shape)
