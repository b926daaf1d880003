"""The tokenizer of Llama 3.2 for programs that drive executorch_npu.

    from llama_edge import Llama32Tokenizer
    tokenizer = Llama32Tokenizer.from_pretrained("meta-llama/Llama-3.2-3B")   # a folder, or an id in the local cache
    ids = tokenizer.encode("Hello")        # starts with the begin token
    text = tokenizer.decode(ids)

Nothing is ever downloaded. Errors: FileNotFoundError (says which cache folder was searched), ValueError.
"""

from ._native import Llama32Tokenizer

__all__ = ["Llama32Tokenizer"]
