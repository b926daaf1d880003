// CRIA_UNROLL before a loop of a fixed number of rounds: all of them one after the other. Without
// it, what an index selects would not be a constant, and arrays of registers would be memory.
#pragma once

#if defined(__clang__)
#define CRIA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CRIA_UNROLL _Pragma("GCC unroll 16")
#endif
