"""Where bfloat16 pays.

A bfloat16 number has the range of float32 and 8 bits of precision: enough for the inside of a network, whose weights,
input and output stay in float32. It pays only on processors that multiply such numbers themselves; elsewhere each
product is emulated, which is slower than float32.
"""

import torch


def fastest(device: torch.device | str = "cpu") -> torch.dtype | None:
    """bfloat16 where the device multiplies it in hardware, else None: the ``compute`` of a U-Net or DiT that pays.

    >>> fastest("meta") is None
    True
    """
    kind = torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        native = any(
            getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    else:
        native = False
    return torch.bfloat16 if native else None
