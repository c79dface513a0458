"""Depthwise convolutions that train on a processor at the speed of their neighbours.

Two of their gradients are slow in bfloat16 on a CPU (oneDNN takes ten to fifty times the forward pass): that of the
input where the stride is two, and that of a 5 x 5 kernel. Both are written here through calls that are quick: the
input's as a convolution of the gradient, spread out with zeros, with the mirrored kernel; a 5 x 5 kernel's as four
overlapping kernels of 3 x 3. The sums are the same (tests/test_models_depthwise.py); only the order of adding differs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

BACKWARD = torch.ops.aten.convolution_backward


class QuickDepthwise(TorchFunctionMode):
    """While it is entered, depthwise convolutions in bfloat16 on the CPU take the quick way, all else its own."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == 7 and torch.is_autocast_enabled("cpu"):
            x, weight, bias, stride, padding, dilation, groups = args
            if bias is None and _quicker(x, weight, stride, padding, dilation, groups):
                return _Depthwise.apply(x, weight, stride[0], tuple(padding))  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _quicker(x: torch.Tensor, weight: torch.Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    side = weight.shape[-1]
    return (
        groups == weight.shape[0] == x.shape[1]
        and weight.shape[1] == 1
        and weight.shape[-2] == side
        and (side == 5 or (side == 3 and tuple(stride) == (2, 2)))
        and tuple(stride) in ((1, 1), (2, 2))
        and tuple(dilation) == (1, 1)
        and not isinstance(padding, str)
        and max(padding) < side
    )


class _Depthwise(torch.autograd.Function):
    """y = x * weight: x [N, C, H, W], weight [C, 1, k, k] with k 3 or 5."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: tuple[int, int]) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        of_x = input_gradient(grad, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        of_weight = weight_gradient(grad, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None, None


def input_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: tuple[int, int]
) -> torch.Tensor:
    """[N, C, H, W], the gradient of the input, of that of the output [N, C, h, w]."""
    channels, side = len(weight), weight.shape[-1]
    if stride == 1:
        spread = grad
    else:
        # As long as the outputs' places reach in the input, so that a plain convolution ends where the input ends.
        high, wide = (size + 2 * pad - side + 1 for size, pad in zip((x.shape[2], x.shape[3]), padding, strict=True))
        spread = grad.new_zeros(len(grad), channels, high, wide).contiguous(memory_format=torch.channels_last)
        spread[:, :, ::stride, ::stride] = grad
    around = (side - 1 - padding[0], side - 1 - padding[1])
    return functional.conv2d(spread, weight.flip(2, 3), None, 1, around, 1, channels)


def weight_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: tuple[int, int]
) -> torch.Tensor:
    """[C, 1, k, k], the gradient of the kernel, of that of the output [N, C, h, w]."""
    side = weight.shape[-1]
    if side == 3:
        return _of_kernel(grad, x, weight, stride, padding)
    padded = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    high, wide = (stride * (size - 1) + 3 for size in grad.shape[2:])
    of_weight = torch.empty_like(weight)
    part = weight[:, :, :3, :3].contiguous()
    for top in (0, 2):
        for left in (0, 2):
            window = padded[:, :, top : top + high, left : left + wide].contiguous(memory_format=torch.channels_last)
            of_weight[:, :, top : top + 3, left : left + 3] = _of_kernel(grad, window, part, stride, (0, 0))
    return of_weight


def _of_kernel(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: tuple[int, int]
) -> torch.Tensor:
    """What PyTorch says of the kernel's gradient."""
    told = BACKWARD(
        grad, x, weight, None, [stride, stride], padding, [1, 1], False, [0, 0], len(weight), [False, True, False]
    )
    return told[1]  # type: ignore[no-any-return]
