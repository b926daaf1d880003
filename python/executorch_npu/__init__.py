"""Run a compiled Llama (`.pte`) on this machine's device.

    import executorch_npu
    device = executorch_npu.init_device(power_profile="high_performance")
    engine = executorch_npu.Engine("model.pte")
    cache = executorch_npu.Buffer(engine.get_kv_cache_size(4096))
    logits = engine.forward(ids, cache)           # the whole prompt first
    next_id = executorch_npu.ops.argmax(logits)   # then engine.forward([next_id], cache), one id at a time

Errors: FileNotFoundError, ValueError (malformed file, wrong argument), MemoryError (context full),
NotImplementedError (this device cannot). Threads: one call at a time may use a Buffer; calls on one Engine run one after another and
release the interpreter lock.
"""

from . import ops
from ._native import Buffer, Device, Engine, Logits, init_device

__all__ = ["Buffer", "Device", "Engine", "Logits", "init_device", "ops"]
