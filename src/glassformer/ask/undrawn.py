"""Building a model whose weights are read from a file, without first drawing weights that the file replaces."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

DRAWS = {
    "normal_",
    "uniform_",
    "trunc_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
    "xavier_normal_",
}
"""What fills a tensor with random numbers, as a method or in `torch.nn.init`."""


class Undrawn(TorchFunctionMode):
    """While it is open, a parameter that would be filled with random numbers stays as it is in memory. All parameters
    must be read from a file afterwards, as `load_into` does; buffers and everything else are made as ever."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[Any], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if isinstance(tensor, nn.Parameter):
                return tensor
        return func(*args, **kwargs)
